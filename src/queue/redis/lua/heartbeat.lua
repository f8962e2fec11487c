-- ARGV: 6 length of a lease that is renewed while no worker holds its job, from 7 five for each beat: name,
-- sequence, token, done, total. Answers the end of each lease, -1 to stop, -2 if it is lost.
see()
local function beat(name, sequence, token, done, total)
  local key, what, job = find(name)
  if not what or what[SEQUENCE] ~= tonumber(sequence) then
    return call('ZSCORE', CANCELLED, sequence..':'..token) and -1 or -2
  end
  if job[STATE] == 'r' and (job[LAPSED_TIMES] > 0 or job[ATTEMPTS] > 0) then
    -- No worker holds the job: the sender, which still works on it, holds it again. The end of its lease is
    -- not a lapse.
    if job[LAPSED_TIMES] > 0 then
      job[LAPSED_TIMES], job[ATTEMPTS] = job[LAPSED_TIMES] - 1, job[ATTEMPTS] + 1
      if job[LAPSED_TIMES] == 0 then call('SREM', LAPSED, name) end
    end
    withdraw(what[QUEUE], what[PRIORITY], what[GROUP], name)
    count(what[QUEUE], 'r', -1)
    count(what[QUEUE], 'h', 1)
    job[STATE], job[TOKEN], job[SINCE], job[LENGTH] = 'h', token, now, tonumber(ARGV[6])
  elseif job[STATE] ~= 'h' or job[TOKEN] ~= token then
    return -2
  end
  job[UNTIL], job[DONE], job[TOTAL] = clock + job[LENGTH], tonumber(done), tonumber(total)
  save(key, job)
  call('ZADD', LEASED, job[UNTIL], name)
  return now + job[LENGTH]
end
local answers = {}
for at = 7, #ARGV, 5 do
  answers[#answers + 1] = beat(ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4])
end
return finish(answers)
