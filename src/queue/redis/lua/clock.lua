-- The clock of the leases, which does not run while the queue is stopped.
local function see()
  latest = latest or now
  if now > latest then clock = clock + math.min(now - latest, GAP_MAX) end
  if now > latest or latest - now > STEP_BACK_MAX then latest = now end
end

local function deadline(until_clock) return latest + (until_clock - clock) end
