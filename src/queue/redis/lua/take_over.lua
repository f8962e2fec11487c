-- Every job that an earlier process had handed out waits again, and lapses are forgotten.
for _, name in ipairs(call('SMEMBERS', LAPSED)) do
  local key, _, job = find(name)
  if job then
    job[LAPSED_TIMES] = 0
    save(key, job)
  end
end
local held = {}
for at, name in ipairs(call('ZRANGE', LEASED, 0, -1)) do
  local key, what, job = find(name)
  held[at] = {name = name, key = key, what = what, job = job}
end
-- Each goes to the front: the oldest last.
table.sort(held, function(a, b) return a.what[SEQUENCE] > b.what[SEQUENCE] end)
for _, lease in ipairs(held) do
  put_first(lease.name, lease.key, lease.what, lease.job, lease.what[ENQUEUED])
end
call('DEL', LEASED, LAPSED, CANCELLED)
return finish(#held)
