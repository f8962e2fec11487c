-- ARGV: 6 name. Answers nothing, or most attempts, payload, and the job or the dead letter.
advance()
local name = ARGV[6]
local key, what, job = find(name)
if not what then return answer({}) end
local payload = call('HGET', key, 'b')
if job[STATE] == 'x' then return answer({what[ATTEMPTS_MAX], payload, 'dead', letter(name, key, what, job)}) end
return answer({what[ATTEMPTS_MAX], payload, 'living', describe(name, what, job)})
