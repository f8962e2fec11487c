-- ARGV from 6, three for each lease: name, sequence, token. Answers 1 if it is done, 0 if another worker holds the job.
local answers = {}
for at = 6, #ARGV, 3 do
  local name, sequence, token = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local key, what, job = find(name)
  local answer = 1
  if not what or what[SEQUENCE] ~= tonumber(sequence) then
    call('ZREM', CANCELLED, sequence..':'..token)
  elseif job[STATE] == 'h' and job[TOKEN] ~= token then
    answer = 0
  elseif job[STATE] ~= 'x' then
    remove(name, key, what, job)
    meter(what[QUEUE], 'a', 1)
  end
  answers[#answers + 1] = answer
end
return finish(answers)
