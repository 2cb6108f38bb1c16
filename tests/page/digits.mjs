// Digits as strokes, in units of the board, and how the mouse draws them.

const circle = (x, y, rx, ry, from = 0, to = 1) =>
  Array.from({ length: 33 }, (_, i) => {
    const angle = 2 * Math.PI * (from + (to - from) * i / 32) - Math.PI / 2;
    return [x + rx * Math.cos(angle), y + ry * Math.sin(angle)];
  });

export const DIGITS = {
  0: [circle(0.5, 0.5, 0.2, 0.3)],
  1: [[[0.52, 0.2], [0.5, 0.8]]],
  2: [[...circle(0.5, 0.35, 0.18, 0.15, -0.2, 0.35), [0.3, 0.78], [0.72, 0.78]]],
  3: [[...circle(0.48, 0.34, 0.17, 0.14, -0.15, 0.5), ...circle(0.48, 0.64, 0.19, 0.16, 0, 0.65)]],
  4: [[[0.36, 0.2], [0.32, 0.52], [0.7, 0.52]], [[0.62, 0.2], [0.6, 0.82]]],
  5: [[[0.68, 0.22], [0.38, 0.22], [0.36, 0.46], ...circle(0.48, 0.62, 0.19, 0.17, 0, 0.62)]],
  6: [[[0.6, 0.18], [0.44, 0.36], [0.36, 0.6], ...circle(0.5, 0.66, 0.15, 0.14, -0.25, 0.75)]],
  7: [[[0.3, 0.22], [0.7, 0.22], [0.46, 0.82]]],
  8: [[...circle(0.5, 0.35, 0.13, 0.14, 0.5, -0.5), ...circle(0.5, 0.65, 0.16, 0.16, 0, 1)]],
  9: [[...circle(0.48, 0.36, 0.15, 0.15, 0.25, -0.75), [0.63, 0.5], [0.58, 0.82]]],
};

/** The strokes turned, scaled, and moved off the centre. */
export const varied = (strokes, { degrees, scale, right, down }) => {
  const [cos, sin] = [Math.cos(degrees * Math.PI / 180) * scale, Math.sin(degrees * Math.PI / 180) * scale];
  const turn = ([x, y]) => [0.5 + right + (x - 0.5) * cos - (y - 0.5) * sin, 0.5 + down + (x - 0.5) * sin + (y - 0.5) * cos];
  return strokes.map((points) => points.map(turn));
};

export async function draw(page, strokes, steps = 3) {
  const box = await page.locator("#pad").boundingBox();
  for (const points of strokes) {
    const [first, ...rest] = points.map(([x, y]) => [box.x + x * box.width, box.y + y * box.height]);
    await page.mouse.move(...first);
    await page.mouse.down();
    for (const point of rest) await page.mouse.move(...point, { steps });
    // An answer to an earlier stroke is not the one to wait for.
    await page.evaluate(() => (document.getElementById("spoken").textContent = ""));
    await page.mouse.up();
  }
}

/** What the page says once it has said something new. */
export async function answer(page) {
  await page.waitForFunction(() => /%/.test(document.getElementById("spoken").textContent));
  return page.locator("#label").textContent();
}
