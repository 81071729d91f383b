"use strict";

(() => {
  const images = JSON.parse(document.getElementById("explorer-data").textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  const cache = new Map();
  const decode = (text) => {
    if (!cache.has(text)) cache.set(text, bytes(text));
    return cache.get(text);
  };
  // Cividis, sampled: the same order to every kind of colour vision.
  const stops = [[0, 32, 76], [0, 48, 111], [57, 72, 107], [96, 98, 111], [130, 123, 120], [169, 150, 117], [208, 179, 102], [253, 231, 55]];
  const colour = (value) => {
    const place = (value / 255) * (stops.length - 1);
    const low = Math.min(Math.floor(place), stops.length - 2);
    return stops[low].map((channel, i) => Math.round(channel + (place - low) * (stops[low + 1][i] - channel)));
  };

  const status = document.querySelector(".state");
  const picker = [...document.querySelectorAll(".pick")];
  const stage = document.getElementById("stage");
  const views = [...document.querySelectorAll(".view")];
  let image = images[0];
  let patch = 0;

  const className = (index) => (index < 0 ? "void" : image.classes[index]);
  const words = () => {
    const [rows, columns] = image.grid;
    return `Patch row ${Math.floor(patch / columns) + 1} of ${rows}, column ${(patch % columns) + 1} of ${columns}, class ${className(image.truth[patch])}`;
  };

  // Runs of before this page drew labels hold no colours of classes.
  const classColour = (index) => (index < 0 ? "#fff" : image.colours?.[index] ?? `hsl(${(index * 137) % 360} 60% 50%)`);
  const cells = (canvas, fill) => {
    const columns = image.grid[1], context = canvas.getContext("2d");
    for (let i = 0; i < image.truth.length; i++) {
      context.fillStyle = fill(i);
      context.fillRect((i % columns) * 40, Math.floor(i / columns) * 40, 40, 40);
    }
  };
  const labels = (view) => {
    const { classes } = image.methods[Number(view.what.value.slice(7))];
    cells(view.canvas, (i) => classColour(classes[i]));
    const known = image.truth.map((label, i) => i).filter((i) => image.truth[i] >= 0);
    const right = known.filter((i) => classes[i] === image.truth[i]).length;
    const share = known.length ? `${Math.round((100 * right) / known.length)} % of the patches right; ` : "";
    return `${share}this patch: ${className(classes[patch])}.`;
  };

  const outline = (canvas) => {
    const [rows, columns] = image.grid;
    const context = canvas.getContext("2d");
    const w = canvas.width / columns, h = canvas.height / rows;
    const x = (patch % columns) * w, y = Math.floor(patch / columns) * h;
    context.lineWidth = 4; context.strokeStyle = "#fff"; context.strokeRect(x, y, w, h);
    context.lineWidth = 2; context.strokeStyle = "#d55e00"; context.strokeRect(x, y, w, h);
  };

  const row = (view) => {
    const count = image.truth.length;
    const [kind, name] = view.what.value.split(/:(.*)/s);
    if (kind === "method") return decode(image.methods[Number(name)].cosines).subarray(patch * count, (patch + 1) * count);
    const all = decode(image.attention), heads = Math.max(1, image.heads), block = Number(name) - 1;
    const one = (head) => all.subarray(((block * heads + head) * count + patch) * count, ((block * heads + head) * count + patch + 1) * count);
    if (view.which.value !== "mean") return one(Number(view.which.value));
    const sum = new Float32Array(count);
    for (let head = 0; head < heads; head++) {
      const values = one(head);
      const total = values.reduce((a, b) => a + b, 0) || 1;
      for (let i = 0; i < count; i++) sum[i] += values[i] / total;
    }
    const most = Math.max(...sum);
    return sum.map((value) => (255 * value) / most);
  };

  const cosines = (view, values) => {
    const mean = (keep) => {
      const kept = [...values].filter((_, i) => keep(i));
      return kept.length ? (kept.reduce((a, b) => a + b, 0) / kept.length / 127.5 - 1).toFixed(2) : "n/a";
    };
    const own = (i) => image.truth[i] === image.truth[patch];
    const found = className(image.methods[Number(view.what.value.slice(7))].classes[patch]);
    return `Mean cosine ${mean(own)} inside the class, ${mean((i) => !own(i))} outside; labelled ${found}.`;
  };
  const stays = (values) => {
    const same = image.truth.map((label) => label === image.truth[patch]);
    const inside = values.reduce((sum, value, i) => sum + (same[i] ? value : 0), 0);
    const total = values.reduce((a, b) => a + b, 0) || 1;
    return `${Math.round((100 * inside) / total)} % of the attention stays within the class, which covers ${Math.round((100 * same.filter(Boolean).length) / same.length)} %.`;
  };

  const draw = () => {
    for (const canvas of document.querySelectorAll(".stage canvas")) {
      const [rows, columns] = image.grid;
      canvas.width = columns * 40; canvas.height = rows * 40;
      canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    }
    outline(stage.querySelector("canvas"));
    for (const view of views) {
      const canvas = view.canvas, label = view.what.selectedOptions[0].textContent;
      if (view.what.value.startsWith("labels:")) {
        view.told.textContent = labels(view);
      } else {
        const values = row(view);
        const method = view.what.value.startsWith("method:");
        const low = method ? Math.min(...values) : 0, span = Math.max(...values) - low || 1;
        cells(canvas, (i) => `rgba(${colour((255 * (values[i] - low)) / span).join(",")},0.82)`);
        view.told.textContent = method ? cosines(view, values) : stays(values);
      }
      outline(canvas);
      canvas.setAttribute("aria-label", `${label}: ${view.told.textContent}`);
    }
    status.textContent = words();
    remember();
  };

  // #image-row-column, all from 1: what a reader copies from the address leads to the same view.
  const place = () => `#${images.indexOf(image) + 1}-${Math.floor(patch / image.grid[1]) + 1}-${(patch % image.grid[1]) + 1}`;
  const remember = () => { if (location.hash !== place()) history.replaceState(null, "", place()); };
  const asked = () => {
    const [number, line, column] = (location.hash.match(/^#(\d+)-(\d+)-(\d+)$/) ?? []).slice(1).map((part) => Number(part) - 1);
    const grid = images[number]?.grid;
    return grid && line >= 0 && line < grid[0] && column >= 0 && column < grid[1] ? [number, line * grid[1] + column] : null;
  };

  const choose = (index) => {
    image = images[index];
    picker.forEach((button, i) => button.setAttribute("aria-pressed", String(i === index)));
    for (const photo of document.querySelectorAll(".stage .photo")) photo.src = image.image;
    for (const truth of document.querySelectorAll(".stage .truth")) truth.src = image.outlines ?? image.image;
    document.querySelector(".outlined").hidden = !image.outlines;
    outlines();
    patch = Math.min(patch, image.truth.length - 1);
    offer();
    draw();
  };

  const switched = document.getElementById("outlines");
  const outlines = () => {
    for (const truth of document.querySelectorAll(".stage .truth")) truth.hidden = !image.outlines || !switched.checked;
  };
  switched.addEventListener("change", outlines);

  const options = (select, wanted) => {
    const before = select.value;
    select.replaceChildren(...wanted.map(([text, value]) => new Option(text, value)));
    if (wanted.some(([, value]) => value === before)) select.value = before;
  };
  const showHeads = (view) => {
    const any = view.what.value.startsWith("attention") && image.heads > 0;
    view.querySelector(".head").style.visibility = any ? "visible" : "hidden";
  };
  const offer = () => {
    const blocks = Array.from({ length: image.blocks }, (_, i) => [`Attention, block ${i + 1}`, `attention:${i + 1}`]);
    const methods = image.methods.map(({ name }, i) => [`Similarity, ${name}`, `method:${i}`]);
    const named = image.methods.map(({ name }, i) => [`Labels, ${name}`, `labels:${i}`]);
    const heads = Array.from({ length: image.heads }, (_, i) => [String(i + 1), String(i)]);
    for (const view of views) {
      options(view.what, [...blocks, ...methods, ...named]);
      options(view.which, [["mean", "mean"], ...heads]);
      showHeads(view);
    }
  };
  for (const view of views) {
    Object.assign(view, {
      what: view.querySelector(".what"), which: view.querySelector(".which"),
      canvas: view.querySelector("canvas"), told: view.querySelector(".told"),
    });
    view.what.addEventListener("change", () => { showHeads(view); draw(); });
    view.which.addEventListener("change", draw);
  }
  offer();
  const other = Math.max(0, image.methods.findIndex(({ name }) => name === "naclip"));
  [`attention:${image.blocks}`, `method:${other}`, `labels:${other}`].forEach((value, number) => {
    views[number].what.value = value;
    showHeads(views[number]);
  });

  const pick = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const [rows, columns] = image.grid;
    const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
    const line = Math.floor(((event.clientY - box.top) / box.height) * rows);
    patch = Math.min(rows - 1, Math.max(0, line)) * columns + Math.min(columns - 1, Math.max(0, column));
    draw();
  };
  for (const element of document.querySelectorAll(".stage")) element.addEventListener("click", pick);
  stage.addEventListener("keydown", (event) => {
    const [rows, columns] = image.grid;
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const [down, right] = moves[event.key];
    const line = Math.min(rows - 1, Math.max(0, Math.floor(patch / columns) + down));
    const column = Math.min(columns - 1, Math.max(0, (patch % columns) + right));
    patch = line * columns + column;
    draw();
  });
  picker.forEach((button, index) => button.addEventListener("click", () => choose(index)));
  const start = [0, Math.floor(images[0].truth.length / 2 + images[0].grid[1] / 2)];
  const follow = (otherwise) => {
    const view = asked() ?? otherwise;
    if (!view) return;
    [, patch] = view;
    choose(view[0]);
  };
  addEventListener("hashchange", () => follow(null));
  follow(start);
})();
