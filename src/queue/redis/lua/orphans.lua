-- Returns the jobs of claims whose answer was lost. ARGV from 6: their tokens.
local tokens, released = {}, 0
for at = 6, #ARGV do tokens[ARGV[at]] = true end
for _, name in ipairs(call('ZRANGE', LEASED, 0, -1)) do
  local key, what, job = find(name)
  if tokens[job[TOKEN]] then
    call('ZREM', LEASED, name)
    job[ATTEMPTS] = math.max(job[ATTEMPTS] - 1, 0)
    put_first(name, key, what, job, now)
    released = released + 1
  end
end
return finish(released)
