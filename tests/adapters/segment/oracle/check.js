// Reads one message a line; writes one line of JSON for each: what Segment's validator says,
// and what its destinations read of it.
const validate = require("@segment/loosely-validate-event");
const { Facade, Group, Identify, Track } = require("@segment/facade");

const kinds = { group: Group, identify: Identify, track: Track };
const fields = "userId email name firstName lastName username phone avatar created ip userAgent groupId timestamp event";

function said(message) {
  // JSON has no dates, and the validator wants them as such, as Segment has them once they are in.
  const timestamp = new Date(message.timestamp);
  if (Number.isNaN(timestamp.getTime())) return "the timestamp is no date";
  try {
    validate({ ...message, timestamp });
    return null;
  } catch (error) {
    return error.message;
  }
}

function read(message) {
  const facade = new (kinds[message.type] || Facade)(message);
  return Object.fromEntries(
    fields.split(" ").filter((name) => typeof facade[name] === "function").map((name) => [name, facade[name]()]),
  );
}

const lines = require("fs").readFileSync(0, "utf8").split("\n").filter(Boolean);
for (const line of lines) {
  const message = JSON.parse(line);
  const wrong = said(message);
  console.log(JSON.stringify({ wrong, read: wrong === null ? read(message) : null }));
}
