// The build step: pages are written in Markdown, and compiled to HTML once, here, and not at every request.

import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { marked } from "marked";

const pages = {};
for (const file of (await readdir("content")).sort()) {
  if (file.endsWith(".md")) {
    const text = await readFile(join("content", file), "utf8");
    pages[basename(file, ".md")] = await marked.parse(text);
  }
}
await mkdir("dist", { recursive: true });
await writeFile("dist/pages.json", JSON.stringify({ compiler: "marked", pages }, null, 2) + "\n");
console.log("compiled", Object.keys(pages).join(", "));
