-- Ends the leases and delays whose time is over.
local function lapse(name)
  local key, what, job = find(name)
  local ended = deadline(job[UNTIL])
  call('ZREM', LEASED, name)
  meter(what[QUEUE], 'f', 1)
  local lapses = job[LAPSED_TIMES] + 1
  if lapses < LAPSES_MAX then
    if lapses == 1 then call('SADD', LAPSED, name) end
    job[LAPSED_TIMES], job[ATTEMPTS] = lapses, math.max(job[ATTEMPTS] - 1, 0)
    put_first(name, key, what, job, ended)
    return
  end
  end_lapses(name, job)
  if job[ATTEMPTS] >= what[ATTEMPTS_MAX] then
    dead_letter(name, key, what, job, fmt('the lease of attempt %d of %d ran out %d times', job[ATTEMPTS], what[ATTEMPTS_MAX], LAPSES_MAX))
  else
    put_first(name, key, what, job, ended)
  end
end

local function end_delays(names)
  local jobs = {}
  for at, name in ipairs(names) do
    local key, what, job = find(name)
    jobs[at] = {name = name, key = key, what = what, job = job}
  end
  table.sort(jobs, function(a, b)
    if a.job[UNTIL] ~= b.job[UNTIL] then return a.job[UNTIL] < b.job[UNTIL] end
    return a.what[SEQUENCE] < b.what[SEQUENCE]
  end)
  for _, ended in ipairs(jobs) do
    local what, job = ended.what, ended.job
    call('ZREM', DELAYED, ended.name)
    job[STATE], job[READY] = 'r', math.max(job[UNTIL], what[ENQUEUED])
    save(ended.key, job)
    -- A job that was tried goes before those that were not; others keep their order.
    push(what[QUEUE], what[PRIORITY], what[GROUP], ended.name, job[ATTEMPTS] > 0)
    count(what[QUEUE], 'd', -1)
    count(what[QUEUE], 'r', 1)
  end
end

local function advance()
  see()
  call('ZREMRANGEBYSCORE', CANCELLED, '-inf', clock)
  for _ = 1, 10 do
    local names = call('ZRANGEBYSCORE', LEASED, '-inf', clock, 'LIMIT', 0, BATCH_MAX)
    for _, name in ipairs(names) do lapse(name) end
    if #names < BATCH_MAX then break end
  end
  for _ = 1, 10 do
    local names = call('ZRANGEBYSCORE', DELAYED, '-inf', now, 'LIMIT', 0, BATCH_MAX)
    end_delays(names)
    if #names < BATCH_MAX then break end
  end
end

-- Ends a script that may have changed nothing. Without leases their clock need not be written.
local function answer(result)
  local changed = next(counts) or next(meters) or turn ~= turn_before
  if changed or call('EXISTS', LEASED) == 1 then return finish(result) end
  return {'ok', changes, now, result}
end
