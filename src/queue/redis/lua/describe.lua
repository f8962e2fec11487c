-- A living job for a list: name, sequence, queue, group, priority, state, end of the delay or lease, done, total, attempts, moment
-- of enqueueing.
local function describe(name, what, job)
  local ends = job[UNTIL]
  if job[STATE] == 'h' then ends = deadline(ends) end
  return {name, what[SEQUENCE], what[QUEUE], what[GROUP], tonumber(what[PRIORITY]), job[STATE], ends, job[DONE], job[TOTAL],
    job[ATTEMPTS], what[ENQUEUED]}
end
