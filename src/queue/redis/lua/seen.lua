-- A node that shares the queue is alive.
call('HSET', META, 'seen:'..ARGV[1], now)
return {'ok', meta[2], now, 1}
