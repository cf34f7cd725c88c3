"use strict";
{
  const form = document.getElementById("filter");
  const articles = [...document.querySelectorAll("article")];
  const texts = articles.map((article) => article.textContent.toLowerCase());

  const apply = () => {
    const status = form.elements.status.value;
    const words = form.elements.text.value.toLowerCase().split(/\s+/);
    let shown = 0;
    articles.forEach((article, place) => {
      const right = status === "" || article.dataset.tags.split("|").includes(status);
      article.hidden = !(right && words.every((word) => texts[place].includes(word)));
      shown += article.hidden ? 0 : 1;
    });
    for (const section of document.querySelectorAll("main > section")) {
      section.hidden = !section.querySelector("article:not([hidden])");
    }
    form.elements.shown.value = `${shown} of ${articles.length} shown`;
  };

  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
}
