-- ARGV: 6 name, 7 sequence, 8 token, 9 reason, 10 longest pause, from 11 the pause after each attempt.
-- Answers the moment of the next attempt, -1 if the job is dead, -2 if it was cancelled, -3 if the lease is lost.
local name, sequence, token = ARGV[6], ARGV[7], ARGV[8]
local key, what, job = find(name)
if not what or what[SEQUENCE] ~= tonumber(sequence) then
  if call('ZREM', CANCELLED, sequence..':'..token) == 1 then return finish(-2) end
  return {'ok', changes, now, -3}
end
if job[STATE] ~= 'h' or job[TOKEN] ~= token then return {'ok', changes, now, -3} end
call('ZREM', LEASED, name)
meter(what[QUEUE], 'f', 1)
if job[ATTEMPTS] >= what[ATTEMPTS_MAX] then
  dead_letter(name, key, what, job, ARGV[9])
  return finish(-1)
end
local again = now + tonumber(ARGV[10 + math.max(1, math.min(job[ATTEMPTS], #ARGV - 10))])
count(what[QUEUE], 'h', -1)
count(what[QUEUE], 'd', 1)
job[STATE], job[UNTIL], job[LONGEST] = 'd', again, tonumber(ARGV[10])
save(key, job)
call('ZADD', DELAYED, again, name)
-- Claims that wait look again when the pause is over.
woken = true
return finish(again)
