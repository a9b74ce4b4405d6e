for (const figure of document.querySelectorAll("figure.chart")) {
  const drawing = JSON.parse(figure.querySelector("script").textContent);
  Bokeh.embed.embed_item(drawing, figure.querySelector(".drawing"));
}
for (const button of document.querySelectorAll(".command button")) {
  button.addEventListener("click", async () => {
    const line = button.parentElement.querySelector("pre");
    try {
      await navigator.clipboard.writeText(line.textContent);
      button.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(line);
    }
  });
}
