"use strict";

const MOST_ROWS = 1000;
const table = document.getElementById("events");
const stream = new EventSource("/stream");

stream.addEventListener("events", (message) => {
  for (const row of JSON.parse(message.data).rows) {
    const line = table.insertRow(0);
    const outcome = [row.outcome, row.reason].filter(Boolean).join(": ");
    const age = row.age_s === null ? "" : `${row.age_s} s`;
    const cells = [row.settled_at, row.type, row.user, row.application, row.connection,
      row.calls.join(", "), outcome, age];
    for (const text of cells) {
      line.insertCell().textContent = text ?? "";
    }
  }
  while (table.rows.length > MOST_ROWS) {
    table.deleteRow(-1);
  }
});
