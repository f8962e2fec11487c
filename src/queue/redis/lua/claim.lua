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

-- Returns the queue whose turn it is, and charges it for one job.
local function next_share()
  local top
  for _, share in ipairs(shares) do
    if share.ready > 0 and (not top or share.paid > top) then top = share.paid end
  end
  if not top then return nil end
  -- A queue without ready jobs earns no credit for later.
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

-- The jobs of a list, read ahead.
local lists = {}
local function ready_jobs_of(key)
  local list = lists[key]
  if not list then
    list = {key = key, jobs = call('ZRANGE', key, 0, AHEAD - 1), first = 1, left = call('ZCARD', key)}
    lists[key] = list
  elseif list.first > #list.jobs and list.left > 0 then
    flush()
    list.jobs, list.first = call('ZRANGE', key, 0, AHEAD - 1), 1
  end
  return list
end

-- Sets the list of the level whose turn it is.
local function front(share, level)
  local queue, priority = share.queue, level.priority
  level.families = rotation_of(families_key(queue, priority))
  local family = level.families.members[level.families.first]
  level.turns = rotation_of(turns_key(queue, priority, family))
  level.group = level.turns.members[level.turns.first]
  level.list = ready_jobs_of(ready_key(queue, priority, level.group))
end

-- The time that orders the first jobs of the levels: a level of priority is worth ten seconds.
local function due(share, level)
  if not level.due then
    front(share, level)
    local _, what = find(level.list.jobs[level.list.first])
    level.due = what[ENQUEUED] - AGING * tonumber(level.priority)
  end
  return level.due
end

local function next_level(share)
  if not share.levels then
    share.levels = {}
    for _, priority in ipairs(call('SMEMBERS', priorities_key(share.queue))) do
      share.levels[#share.levels + 1] = {priority = priority}
    end
  end
  local levels = share.levels
  if #levels == 1 then
    front(share, levels[1])
    return levels[1], 1
  end
  local best, best_at
  for at, level in ipairs(levels) do
    local mine = due(share, level)
    if not best or mine < best.due or (mine == best.due and tonumber(level.priority) > tonumber(best.priority)) then
      best, best_at = level, at
    end
  end
  return best, best_at
end

-- Takes the next job of a queue, and moves its list and family behind the others.
local function take(share)
  local level, level_at = next_level(share)
  if not level then return nil end
  local list = level.list
  local name = list.jobs[list.first]
  list.first, list.left = list.first + 1, list.left - 1
  batch('ZREM', list.key, name)
  level.due = nil
  share.ready = share.ready - 1
  if list.left > 0 then
    move(level.turns)
    move(level.families)
    return name
  end
  drop(level.turns)
  if level.turns.left > 0 then
    move(level.families)
    return name
  end
  drop(level.families)
  if level.families.left == 0 then
    call('SREM', priorities_key(share.queue), level.priority)
    table.remove(share.levels, level_at)
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
    if job[ATTEMPTS] < what[ATTEMPTS_MAX] then
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
    dead_letter(name, key, what, job, fmt('the process stopped in attempt %d of %d', job[ATTEMPTS], what[ATTEMPTS_MAX]))
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
-- Returns the time until the next lease or delay ends; -1 if there is none.
local delayed, leased = call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')[2], call('ZRANGE', LEASED, 0, 0, 'WITHSCORES')[2]
local wait = -1
if delayed then wait = math.max(delayed - now, 0) end
if leased then
  local left_of = math.max(leased - clock, 0)
  if wait < 0 or left_of < wait then wait = left_of end
end
return answer({wait, now + length, leases})
