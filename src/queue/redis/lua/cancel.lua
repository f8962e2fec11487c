-- ARGV: 6 group, 7 most jobs at once. Answers jobs removed, jobs held, and 1 if there are more.
local group, most, removed, held = ARGV[6], tonumber(ARGV[7]), 0, 0
local names = call('ZRANGE', group_key(group), 0, most - 1)
for _, name in ipairs(names) do
  local key, what, job = find(name)
  if job[STATE] == 'h' then
    held = held + 1
    call('ZADD', CANCELLED, job[UNTIL], fmt('%.0f:%s', what[SEQUENCE], job[TOKEN]))
  else
    removed = removed + 1
  end
  remove(name, key, what, job)
end
local graves = call('SRANDMEMBER', group_letters_key(group), most)
for _, name in ipairs(graves) do
  local key, what = find(name)
  count(what[QUEUE], 'x', -1)
  call('DEL', key)
  call('ZREM', DEAD, name)
  call('SREM', group_letters_key(group), name)
  removed = removed + 1
end
return finish({removed, held, (#names == most or #graves == most) and 1 or 0})
