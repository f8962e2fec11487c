-- Makes every job ready that an earlier process had handed out, and forgets lapses. ARGV: 6 whether other nodes use the queue.
-- Then only jobs held by ended processes become ready: a worker on another machine continues.
local shares, kept = ARGV[6] == '1', {}
if shares then
  for _, field in ipairs(call('HKEYS', META)) do
    local node = string.match(field, '^node:(.*)$')
    if node then kept[node] = true end
  end
end
local function spares(job) return shares and (not job[OWNER] or job[OWNER] == '' or kept[job[OWNER]]) end
for _, name in ipairs(shares and {} or call('SMEMBERS', LAPSED)) do
  local key, _, job = find(name)
  if job then
    job[LAPSED_TIMES] = 0
    save(key, job)
  end
end
local held = {}
for _, name in ipairs(call('ZRANGE', LEASED, 0, -1)) do
  local key, what, job = find(name)
  if not spares(job) then held[#held + 1] = {name = name, key = key, what = what, job = job} end
end
-- Each goes to the front: the oldest last.
table.sort(held, function(a, b) return a.what[SEQUENCE] > b.what[SEQUENCE] end)
for _, lease in ipairs(held) do
  put_first(lease.name, lease.key, lease.what, lease.job, lease.what[ENQUEUED])
end
if shares then
  for _, lease in ipairs(held) do call('ZREM', LEASED, lease.name) end
else
  call('DEL', LEASED, LAPSED, CANCELLED)
end
return finish(#held)
