-- ARGV from 6, eight for each job: name, queue, group, priority, delay in microseconds, attempts, most attempts, payload.
local added, lists, queues = 0, {}, {}
for at = 6, #ARGV, 8 do
  local name, queue, group, priority = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local key = job_key(name)
  if call('EXISTS', key) == 0 then
    local delay, sequence = tonumber(ARGV[at + 4]), next_turn()
    local what = {queue, group, priority, sequence, now, tonumber(ARGV[at + 6])}
    local state = delay > 0 and 'd' or 'r'
    local job = {state, tonumber(ARGV[at + 5]), now, now + delay, '', 0, 0, 0, 0, 0, delay}
    call('HSET', key, 'i', pack(what), 'm', pack(job), 'b', ARGV[at + 7])
    join(group, sequence, name)
    if state == 'd' then
      batch('ZADD', DELAYED, now + delay, name)
    else
      local list = ready_key(queue, priority, group)
      if not lists[list] then
        lists[list] = true
        if call('EXISTS', list) == 0 then add_turn(queue, priority, group) end
      end
      batch('ZADD', list, sequence, name)
      woken = true
    end
    added = added + 1
    count(queue, state, 1)
    meter(queue, 'e', 1)
    if not queues[queue] then
      queues[queue] = true
      call('SADD', P..'queues', queue)
    end
  end
end
if added == 0 then return {'ok', changes, now, 0} end
return finish(added)
