-- ARGV: 6 most jobs, 7 length of the leases, 8 token of this claim, 9 the process that holds the jobs, from 10 two for each
-- queue: name, weight.
local most, length, token, owner = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8], ARGV[9]
local STRIDE, AGING, BYTES, AHEAD = 1048576, 10000000, 16777216, 64
advance()
local shares = {}
for at = 10, #ARGV, 2 do
  local queue = ARGV[at]
  local state = call('HMGET', queue_key(queue), 'r', 'paid')
  local ready = tonumber(state[1] or 0) + ((counts[queue] or {}).r or 0)
  if ready > 0 and call('SISMEMBER', ROOT..'paused', queue) == 0 then
    shares[#shares + 1] = {queue = queue, weight = tonumber(ARGV[at + 1]), ready = ready, paid = tonumber(state[2] or 0)}
  end
end

-- The queue whose turn it is, which is charged for one job.
local function next_share()
  local top
  for _, share in ipairs(shares) do
    if share.ready > 0 and (not top or share.paid > top) then top = share.paid end
  end
  if not top then return nil end
  -- A queue that had nothing to hand out does not save up for later.
  local least, best = math.max(top - STRIDE, 0), nil
  for _, share in ipairs(shares) do
    if share.ready > 0 and (not best or math.max(share.paid, least) < math.max(best.paid, least)) then best = share end
  end
  best.paid = math.max(best.paid, least) + math.max(math.floor(STRIDE / best.weight), 1)
  best.charged = true
  return best
end

-- Members of a rotation in the order of their turns, as many as this claim can need. Those that move behind the others are
-- written back once, with their last turn.
local function rotation(key)
  flush()
  return {key = key, members = call('ZRANGE', key, 0, most - 1), left = call('ZCARD', key), first = 1, moved = {}}
end
local function move(turns)
  local member = turns.members[turns.first]
  turns.first = turns.first + 1
  turns.members[#turns.members + 1] = member
  turns.moved[member] = next_turn()
end
local function drop(turns)
  local member = turns.members[turns.first]
  turns.first = turns.first + 1
  turns.left, turns.moved[member] = turns.left - 1, nil
  batch('ZREM', turns.key, member)
end
local function is_over(turns) return turns.first > #turns.members end
local rotations = {}
local function rotation_of(key)
  local turns = rotations[key]
  if not turns or is_over(turns) then
    turns = rotation(key)
    rotations[key] = turns
  end
  return turns
end

-- The jobs of a lane, read ahead.
local lanes = {}
local function lane_of(key)
  local lane = lanes[key]
  if not lane then
    lane = {key = key, jobs = call('ZRANGE', key, 0, AHEAD - 1), first = 1, left = call('ZCARD', key)}
    lanes[key] = lane
  elseif lane.first > #lane.jobs and lane.left > 0 then
    flush()
    lane.jobs, lane.first = call('ZRANGE', key, 0, AHEAD - 1), 1
  end
  return lane
end

-- The lane of a band whose turn it is.
local function front(share, band)
  local queue, priority = share.queue, band.priority
  band.families = rotation_of(families_key(queue, priority))
  local family = band.families.members[band.families.first]
  band.turns = rotation_of(turns_key(queue, priority, family))
  band.group = band.turns.members[band.turns.first]
  band.lane = lane_of(lane_key(queue, priority, band.group))
end

-- The moment by which the first job of a band is due: a level of priority is worth ten seconds.
local function due(share, band)
  if not band.due then
    front(share, band)
    local _, what = find(band.lane.jobs[band.lane.first])
    band.due = what[ENQUEUED] - AGING * tonumber(band.priority)
  end
  return band.due
end

local function next_band(share)
  if not share.bands then
    share.bands = {}
    for _, priority in ipairs(call('SMEMBERS', bands_key(share.queue))) do
      share.bands[#share.bands + 1] = {priority = priority}
    end
  end
  local bands = share.bands
  if #bands == 1 then
    front(share, bands[1])
    return bands[1], 1
  end
  local best, best_at
  for at, band in ipairs(bands) do
    local mine = due(share, band)
    if not best or mine < best.due or (mine == best.due and tonumber(band.priority) > tonumber(best.priority)) then
      best, best_at = band, at
    end
  end
  return best, best_at
end

-- Takes the next job of a queue, and moves its lane and family behind the others.
local function take(share)
  local band, band_at = next_band(share)
  if not band then return nil end
  local lane = band.lane
  local name = lane.jobs[lane.first]
  lane.first, lane.left = lane.first + 1, lane.left - 1
  batch('ZREM', lane.key, name)
  band.due = nil
  share.ready = share.ready - 1
  if lane.left > 0 then
    move(band.turns)
    move(band.families)
    return name
  end
  drop(band.turns)
  if band.turns.left > 0 then
    move(band.families)
    return name
  end
  drop(band.families)
  if band.families.left == 0 then
    call('SREM', bands_key(share.queue), band.priority)
    table.remove(share.bands, band_at)
  end
  return name
end

local leases, bytes, until_clock = {}, 0, clock + length
local function hand_out(share)
  while share.ready > 0 do
    local name = take(share)
    if not name then
      share.ready = 0
      return
    end
    local key = job_key(name)
    local fields = call('HMGET', key, 'i', 'm', 'b')
    local what, job = unpacked(fields[1]), unpacked(fields[2])
    if job[ATTEMPTS] < what[MOST] then
      local attempt = job[ATTEMPTS] + 1
      job[STATE], job[ATTEMPTS], job[TOKEN], job[SINCE] = 'h', attempt, token, now
      job[LENGTH], job[UNTIL], job[DONE], job[TOTAL], job[OWNER] = length, until_clock, 0, 0, owner
      save(key, job)
      batch('ZADD', LEASED, until_clock, name)
      count(share.queue, 'r', -1)
      count(share.queue, 'h', 1)
      bytes = bytes + #fields[3]
      leases[#leases + 1] = {name, fmt('%.0f', what[SEQUENCE]), share.queue, what[GROUP], fields[3], attempt, what[ENQUEUED], job[READY]}
      return
    end
    bury(name, key, what, job, fmt('the process stopped in attempt %d of %d', job[ATTEMPTS], what[MOST]))
  end
end

while #leases < most and bytes < BYTES do
  local share = next_share()
  if not share then break end
  hand_out(share)
end
for _, share in ipairs(shares) do
  if share.charged then call('HSET', queue_key(share.queue), 'paid', share.paid) end
end
flush()
for key, turns in pairs(rotations) do
  for member, turn_of in pairs(turns.moved) do batch('ZADD', key, turn_of, member) end
end
flush()
woken = false
-- The wait until something happens by itself; -1 if nothing will.
local delayed, leased = call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')[2], call('ZRANGE', LEASED, 0, 0, 'WITHSCORES')[2]
local wait = -1
if delayed then wait = math.max(delayed - now, 0) end
if leased then
  local left_of = math.max(leased - clock, 0)
  if wait < 0 or left_of < wait then wait = left_of end
end
return answer({wait, now + length, leases})
