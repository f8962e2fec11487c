-- The next state of a job that a worker no longer holds.
local function end_lapses(name, job)
  if job[LAPSED_TIMES] > 0 then call('SREM', LAPSED, name) end
  job[LAPSED_TIMES] = 0
end

-- Makes the job ready, before all others of its list.
local function put_first(name, key, what, job, ready)
  local queue = what[QUEUE]
  count(queue, job[STATE], -1)
  count(queue, 'r', 1)
  job[STATE], job[READY] = 'r', math.max(ready, what[ENQUEUED])
  save(key, job)
  push(queue, what[PRIORITY], what[GROUP], name, true)
end

local function dead_letter(name, key, what, job, reason)
  local at, group, queue = next_turn(), what[GROUP], what[QUEUE]
  count(queue, job[STATE], -1)
  count(queue, 'x', 1)
  end_lapses(name, job)
  job[STATE] = 'x'
  call('HSET', key, 'm', pack(job), 'z', at, 'y', reason, 'd', now)
  call('ZADD', DEAD, at, name)
  leave(group, name)
  call('SADD', group_letters_key(group), name)
end

-- Removes a job that is not dead.
local function remove(name, key, what, job)
  local state = job[STATE]
  if state == 'r' then withdraw(what[QUEUE], what[PRIORITY], what[GROUP], name)
  elseif state == 'd' then batch('ZREM', DELAYED, name)
  else batch('ZREM', LEASED, name) end
  call('DEL', key)
  leave(what[GROUP], name)
  end_lapses(name, job)
  count(what[QUEUE], state, -1)
end
