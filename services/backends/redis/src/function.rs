//! The one function that runs inside Redis: a token bucket, which has to read and write in one step
//! by one clock. It is loaded once and called by name; no script comes with a call.
//!
//! A new version is a new name, so that nodes of two versions can share a server.

use redis::Value;

/// The name of the function.
pub(crate) const TAKE: &str = "entente1_take";
/// What Redis says of a function that it does not have: after a failover to an empty server.
const MISSING: &str = "Function not found";

/// Key: the bucket, which holds the moment (µs, by the server's clock) when it is full again.
/// Arguments: the time of one token, the time of all of them (µs). Answers 0, or µs until a token.
pub(crate) const SOURCE: &str = r"#!lua name=entente1
local function take(keys, args)
  local time = redis.call('TIME')
  local now = time[1] * 1000000 + time[2]
  local interval, room = tonumber(args[1]), tonumber(args[2])
  local full = tonumber(redis.call('GET', keys[1]) or '0') or 0
  local after = math.max(full - now, 0) + interval
  if after > room then
    return after - room
  end
  local life = math.max(math.ceil(after / 1000), 1)
  redis.call('SET', keys[1], string.format('%.0f', now + after), 'PX', life)
  return 0
end
redis.register_function('entente1_take', take)
";

/// The command that loads the library.
pub(crate) fn load() -> redis::Cmd {
    let mut load = redis::cmd("FUNCTION");
    load.arg("LOAD").arg(SOURCE);
    load
}

/// Whether an error says that the library has to be loaded.
pub(crate) fn is_missing(error: &redis::RedisError) -> bool {
    error.to_string().contains(MISSING)
}

/// Whether loading ended with the library there: also if another node was faster.
pub(crate) fn is_loaded(outcome: &Result<Value, redis::RedisError>) -> bool {
    match outcome {
        Ok(_) => true,
        Err(error) => error.to_string().contains("already exists"),
    }
}
