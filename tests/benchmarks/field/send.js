// Sends so many events as Auth0's extension does (auth0-extensions/auth0-logs-to-provider, server/lib/senders/segment.js
// at dc0e09a): ten at a time, each waited for until the library has flushed it. The profile that it reads for each
// event is left out here, to its advantage. Prints the seconds that it took.
const Analytics = require("analytics-node");
const async = require("async");

const [host, key, count] = process.argv.slice(2);
const analytics = new Analytics(key, { host });
const numbers = Array.from({ length: Number(count) }, (_, number) => number);
const began = process.hrtime();

const send = (number, done) => analytics.track({ userId: `auth0|${number}`, event: "Success Login" }, done);

async.eachLimit(numbers, 10, send, (error) => {
  if (error) throw error;
  const [seconds, nanoseconds] = process.hrtime(began);
  console.log(seconds + nanoseconds / 1e9);
  process.exit(0);
});
