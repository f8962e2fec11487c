-- Shared by all scripts that change the queue.
-- `turn` numbers sequences, places in a list and turns, upwards. `clock` is the clock of the leases.
local changes, turn = tonumber(meta[2]), tonumber(meta[3])
local latest, clock = tonumber(meta[4] or ''), tonumber(meta[5])
local turn_before = turn
local GAP_MAX, STEP_BACK_MAX, LAPSES_MAX, BATCH_MAX = 500000, 60000000, 3, 500
local counts, meters, woken = {}, {}, false

local function queue_key(queue) return P..'q:'..queue end
local function ready_key(queue, priority, group) return P..'w:'..priority..':'..#queue..':'..queue..group end
local function families_key(queue, priority) return P..'f:'..priority..':'..queue end
local function turns_key(queue, priority, family) return P..'t:'..priority..':'..#queue..':'..queue..family end
local function priorities_key(queue) return P..'b:'..queue end
local function group_key(group) return P..'g:'..group end
local function group_letters_key(group) return P..'gd:'..group end
local DELAYED, LEASED, GROUPS, DEAD, LAPSED, CANCELLED =
  P..'delayed', P..'leased', P..'groups', P..'dead', P..'lapsed', P..'cancelled'

-- A job is a hash: `i` has its constants, `m` its state, `b` its payload. `i` and `m` are packed: a hash field costs more than a
-- number. Elements of i:
local QUEUE, GROUP, PRIORITY, SEQUENCE, ENQUEUED, ATTEMPTS_MAX = 1, 2, 3, 4, 5, 6
-- Elements of m: state (r ready, d delayed, h held, x dead); attempts begun; time at which it became ready; end of the delay, or of
-- the lease by the clock of the leases; token, length and begin of the lease; progress; lapses; the longest delay; the process
-- that holds it, empty for a worker on another machine.
local STATE, ATTEMPTS, READY, UNTIL, TOKEN, LENGTH, SINCE, DONE, TOTAL, LAPSED_TIMES, LONGEST = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
local OWNER = 12
local pack, unpacked = cmsgpack.pack, cmsgpack.unpack

local function job_key(name) return P..'j:'..name end
local function save(key, state) call('HSET', key, 'm', pack(state)) end

-- Returns the key, the constants and the state of a job; the key alone if there is no such job.
local function find(name)
  local key = P..'j:'..name
  local fields = call('HMGET', key, 'i', 'm')
  if not fields[1] then return key end
  return key, unpacked(fields[1]), unpacked(fields[2])
end

local function family_of(group) return string.match(group, '^(.-)/') or group end
local function next_turn() turn = turn + 1; return turn end

-- Adds to a count of a queue: r ready, d delayed, h held, x dead.
local function count(queue, state, by)
  local of = counts[queue]
  if not of then of = {}; counts[queue] = of end
  of[state] = (of[state] or 0) + by
end

-- Adds events of a queue: e enqueued, a acknowledged, f failed.
local function meter(queue, kind, events)
  local of = meters[queue]
  if not of then of = {}; meters[queue] = of end
  of[kind] = (of[kind] or 0) + events
end

-- Collects members, so that few commands write many. For a sorted set the score precedes the member.
local batches = {}
local function batch(command, key, value, member)
  local by_key = batches[command]
  if not by_key then by_key = {}; batches[command] = by_key end
  local list = by_key[key]
  if not list then list = {}; by_key[key] = list end
  local size = #list
  list[size + 1] = value
  if member then list[size + 2] = member end
  if size >= 1000 then
    call(command, key, unpack(list))
    by_key[key] = nil
  end
end
local function flush()
  for command, by_key in pairs(batches) do
    for key, list in pairs(by_key) do call(command, key, unpack(list)) end
  end
  batches = {}
end

-- Adds jobs to a group, or removes them.
local joined, left = {}, {}
local function join(group, sequence, name)
  batch('ZADD', group_key(group), sequence, name)
  if not joined[group] then
    joined[group] = true
    call('SADD', GROUPS, group)
  end
end
local function leave(group, name)
  left[group] = true
  batch('ZREM', group_key(group), name)
end

local function finish(result)
  flush()
  for group in pairs(left) do
    if call('EXISTS', group_key(group)) == 0 then call('SREM', GROUPS, group) end
  end
  for queue, of in pairs(counts) do
    for state, by in pairs(of) do
      if by ~= 0 then call('HINCRBY', queue_key(queue), state, by) end
    end
  end
  local second = math.floor(now / 1000000)
  for queue, of in pairs(meters) do
    local key, slot = P..'m:'..queue, second % 60
    for kind, events in pairs(of) do
      local kept = call('HGET', key, kind..slot)
      local at, sum = string.match(kept or '', '^(%d+) (%d+)$')
      if tonumber(at) == second then events = events + sum end
      call('HSET', key, kind..slot, fmt('%d %d', second, events))
    end
  end
  changes = changes + 1
  call('HSET', META, 'changes', changes, 'turn', turn, 'latest', latest or '', 'clock', clock)
  if woken then call('PUBLISH', ROOT..'wake', '1') end
  return {'ok', changes, now, result}
end
