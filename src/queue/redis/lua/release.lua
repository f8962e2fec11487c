-- ARGV from 6, three for each lease: name, sequence, token. The last goes to the front first.
for at = #ARGV - 2, 6, -3 do
  local name, sequence, token = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local key, what, job = find(name)
  if not what or what[SEQUENCE] ~= tonumber(sequence) then
    call('ZREM', CANCELLED, sequence..':'..token)
  elseif job[STATE] == 'h' and job[TOKEN] == token then
    call('ZREM', LEASED, name)
    job[ATTEMPTS] = math.max(job[ATTEMPTS] - 1, 0)
    put_first(name, key, what, job, now)
  end
end
return finish(0)
