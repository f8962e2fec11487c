-- No delay lasts longer than requested, counted from now: the clock may have been ahead when it began.
for _, name in ipairs(call('ZRANGE', DELAYED, 0, -1)) do
  local key, _, job = find(name)
  local last = now + job[LONGEST]
  if last < job[UNTIL] then
    job[UNTIL] = last
    save(key, job)
    call('ZADD', DELAYED, last, name)
  end
end
return finish(0)
