// A small web app that is deployed by bootagent: it serves the pages that the build compiled.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import mustache from "mustache";

const { pages } = JSON.parse(await readFile("dist/pages.json", "utf8"));
const page = await readFile("page.html", "utf8");
mustache.parse(page);

const facts = {
  release: process.env.BOOTAGENT_RELEASE ?? "none",
  revision: (process.env.BOOTAGENT_REVISION ?? "none").slice(0, 12),
  instance: process.env.BOOTAGENT_INSTANCE_ID ?? "none",
  process: process.pid,
};

const server = createServer((request, response) => {
  response.setHeader("X-Release", facts.release);
  const { pathname } = new URL(request.url, "http://localhost");
  if (pathname === "/up") {
    // A real app asks its database here, briefly.
    response.setHeader("Content-Type", "text/plain");
    response.end("ok\n");
    return;
  }
  const name = pathname === "/" ? "index" : pathname.slice(1);
  response.setHeader("Content-Type", "text/html; charset=utf-8");
  if (!Object.hasOwn(pages, name)) {
    response.statusCode = 404;
    response.end(mustache.render(page, { ...facts, title: "Not found", body: "<h1>Not found</h1>" }));
    return;
  }
  response.end(mustache.render(page, { ...facts, title: name, body: pages[name] }));
});

// A balancer keeps connections to reuse them, an ALB for 60 s by default. It must be the one that closes them: a request that
// crosses our closing on its way is lost.
server.keepAliveTimeout = 75_000;
server.headersTimeout = 80_000;

for (const signal of ["SIGTERM", "SIGINT"]) {
  process.once(signal, () => {
    console.log("stopping: no new connections; those in flight may end");
    server.close(() => {
      console.log("stopped");
      process.exit(0);
    });
    server.closeIdleConnections();
    setTimeout(() => {
      console.error("requests were still in flight after 15 s");
      process.exit(1);
    }, 15_000).unref();
  });
}

server.listen(Number(process.env.PORT ?? 8080), () => {
  console.log("listening on port", server.address().port, "release", facts.release);
});
