-- Records that this node is alive.
call('HSET', META, 'seen:'..ARGV[1], now)
return {'ok', meta[2], now, 1}
