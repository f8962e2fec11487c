-- ARGV from 6: names. Answers the number of dead letters removed.
local gone = 0
for at = 6, #ARGV do
  local name = ARGV[at]
  local key, what, job = find(name)
  if what and job[STATE] == 'x' then
    call('DEL', key)
    call('ZREM', DEAD, name)
    call('SREM', group_letters_key(what[GROUP]), name)
    count(what[QUEUE], 'x', -1)
    gone = gone + 1
  end
end
return finish(gone)
