/** The table of all pipelines, asked for again and again. Whoever moves in it is not disturbed. */

const LOOK_MS = 10_000;

async function refresh() {
  const answer = await fetch("/", { cache: "no-store" }).catch(() => null);
  document.getElementById("silent").hidden = Boolean(answer?.ok);
  if (!answer?.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const old = document.querySelector("tbody");
  const fresh = page.querySelector("tbody");
  if (!fresh || old.contains(document.activeElement) || fresh.innerHTML === old.innerHTML) return;
  old.replaceWith(document.adoptNode(fresh));
}

setInterval(refresh, LOOK_MS);
