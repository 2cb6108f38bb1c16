
/* The network, computed step by step: src/models/steps.rs says what each step is. A value is { channels, height, width, data }. */

/** The numbers in a text of base64, as they are stored. */
function numbers(base64, dtype) {
  const text = atob(base64.trim()), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const view = new DataView(bytes.buffer), size = dtype === "f16" ? 2 : 4;
  const read = dtype === "f16" ? (at) => half(view.getUint16(at, true)) : (at) => view.getFloat32(at, true);
  return Float32Array.from({ length: bytes.length / size }, (_, i) => read(i * size));
}

/** A number of IEEE half precision. */
function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

/** What batch norm does with its running statistics: value * slope + offset, per channel. */
function normOf(tensors, name, epsilon) {
  const field = (name_) => tensors.get(`${name}.${name_}`).data;
  const [gamma, beta, mean, variance] = ["gamma", "beta", "running_mean", "running_var"].map(field);
  const slope = gamma.map((value, c) => value / f32(Math.sqrt(f32(variance[c] + f32(epsilon)))));
  return { slope, offset: beta.map((value, c) => value - f32(mean[c] * slope[c])) };
}

/** A convolution with its batch norm put into its weights. */
function convOf(tensors, { name, bias, epsilon }) {
  const kernel = tensors.get(`${name}.conv.weight`), [outputs, inputs, side] = kernel.shape, size = inputs * side * side;
  let offset = bias ? tensors.get(`${name}.conv.bias`).data : new Float32Array(outputs);
  let weight = kernel.data;
  if (epsilon !== null) {
    const norm = normOf(tensors, `${name}.norm`, epsilon);
    weight = weight.map((value, i) => value * norm.slope[Math.floor(i / size)]);
    offset = offset.map((value, c) => f32(value * norm.slope[c]) + norm.offset[c]);
  }
  return { outputs, inputs, side, weight, offset };
}

function relu(data) {
  for (let i = 0; i < data.length; i++) if (data[i] < 0) data[i] = 0;
}

function conv({ outputs, inputs, side, weight, offset }, { stride, padding, relu: isRelu, pool: isPool }, image) {
  const wide = image.width + 2 * padding, high = image.height + 2 * padding, padded = new Float32Array(inputs * wide * high);
  for (let row = 0; row < inputs * image.height; row++) {
    const [channel, y] = [Math.floor(row / image.height), row % image.height];
    padded.set(image.data.subarray(row * image.width, (row + 1) * image.width), (channel * high + y + padding) * wide + padding);
  }
  const height = Math.floor((high - side) / stride) + 1, width = Math.floor((wide - side) / stride) + 1;
  const data = new Float32Array(outputs * height * width), line = new Float64Array(width);
  for (let o = 0, out = 0; o < outputs; o++) {
    for (let y = 0; y < height; y++, out += width) {
      line.fill(offset[o]);
      for (let i = 0, w = o * inputs * side * side; i < inputs; i++) {
        for (let ky = 0; ky < side; ky++) {
          const start = (i * high + y * stride + ky) * wide;
          for (let kx = 0; kx < side; kx++, w++) {
            const factor = weight[w];
            for (let x = 0, from = start + kx; x < width; x++, from += stride) line[x] += factor * padded[from];
          }
        }
      }
      data.set(line, out);
    }
  }
  if (isRelu) relu(data);
  const value = { channels: outputs, height, width, data };
  return isPool ? pool(value) : value;
}

/** The largest of each 2x2 pixels. */
function pool({ channels, height, width, data }) {
  const high = Math.floor(height / 2), wide = Math.floor(width / 2), out = new Float32Array(channels * high * wide);
  for (let c = 0, to = 0; c < channels; c++) {
    for (let y = 0; y < high; y++) {
      for (let x = 0, from = (c * height + 2 * y) * width; x < wide; x++, from += 2, to++) {
        out[to] = Math.max(data[from], data[from + 1], data[from + width], data[from + width + 1]);
      }
    }
  }
  return { channels, height: high, width: wide, data: out };
}

const OPERATIONS = {
  conv: (tensors, step) => {
    const folded = convOf(tensors, step);
    return (image) => conv(folded, step, image);
  },
  norm: (tensors, { name, epsilon }) => {
    const { slope, offset } = normOf(tensors, name, epsilon);
    return (image) => {
      const plane = image.height * image.width;
      return { ...image, data: image.data.map((value, i) => {
        const c = Math.floor(i / plane);
        return Math.max(0, value * slope[c] + offset[c]);
      }) };
    };
  },
  group_norm: (tensors, { name, groups, epsilon, relu: isRelu, pool: isPool }) => {
    const [gamma, beta] = ["gamma", "beta"].map((field) => tensors.get(`${name}.${field}`).data);
    return (image) => {
      const plane = image.height * image.width, size = image.channels / groups * plane, data = new Float32Array(image.data.length);
      for (let start = 0; start < data.length; start += size) {
        const group = image.data.subarray(start, start + size), mean = group.reduce((sum, value) => sum + value, 0) / size;
        const variance = group.reduce((sum, value) => sum + (value - mean) ** 2, 0) / size, factor = 1 / Math.sqrt(variance + epsilon);
        group.forEach((value, i) => {
          const c = Math.floor((start + i) / plane);
          data[start + i] = (value - mean) * factor * gamma[c] + beta[c];
        });
      }
      if (isRelu) relu(data);
      const value = { ...image, data };
      return isPool ? pool(value) : value;
    };
  },
  sum: (_, step) => (one, other) => {
    const data = one.data.map((value, i) => value + other.data[i]);
    if (step.relu) relu(data);
    return { ...one, data };
  },
  mean: () => ({ channels, height, width, data }) => {
    const plane = height * width;
    const mean = (c) => data.subarray(c * plane, (c + 1) * plane).reduce((sum, value) => sum + value, 0) / plane;
    return { channels, height: 1, width: 1, data: Float32Array.from({ length: channels }, (_, c) => mean(c)) };
  },
  dense: (tensors, { name, relu: isRelu }) => {
    const { data: weight, shape: [inputs, outputs] } = tensors.get(`${name}.weight`), bias = tensors.get(`${name}.bias`).data;
    return ({ data: values }) => {
      const sums = Float64Array.from(bias);
      for (let i = 0, w = 0; i < inputs; i++) {
        const value = values[i];
        for (let o = 0; o < outputs; o++, w++) sums[o] += value * weight[w];
      }
      const data = Float32Array.from(sums);
      if (isRelu) relu(data);
      return { channels: outputs, height: 1, width: 1, data };
    };
  },
};

/** A function from pixels, [channels, height, width], to logits. */
function modelOf({ dtype, networks, tensors: shapes, views }, base64, size) {
  const all = numbers(base64, dtype), tensors = new Map();
  let start = 0;
  for (const { name, shape } of shapes) {
    const end = start + shape.reduce((product, side) => product * side, 1);
    tensors.set(name, { shape, data: all.subarray(start, end) });
    start = end;
  }
  const members = networks.map((network) => networkOf(network, tensors, size));
  return (pixels) => {
    const seen = views.map((view) => shownBy(view, pixels));
    const logits = seen.flatMap((image) => members.map((member) => member(image)));
    return logits.length === 1 ? logits[0] : logMean(logits);
  };
}

/** What a view shows of an image: src/data/views.rs. */
function shownBy({ rows, columns, outside }, pixels) {
  const width = columns.length, plane = rows.length * width;
  return pixels.map((_, i) => {
    const c = Math.floor(i / plane), row = rows[Math.floor((i % plane) / width)], column = columns[i % width];
    return row === null || column === null ? outside[c] : pixels[c * plane + row * width + column];
  });
}

/** The logarithm of the mean of the probabilities. */
function logMean(all) {
  const logs = all.map((logits) => logits.map((logit) => logit - logSumExp(logits, 1)));
  return logs[0].map((_, i) => {
    const highest = Math.max(...logs.map((log) => log[i]));
    return highest + Math.log(logs.reduce((sum, log) => sum + Math.exp(log[i] - highest), 0) / logs.length);
  });
}

/** ln(sum(exp(logit / temperature))). */
function logSumExp(logits, temperature) {
  const highest = logits.reduce((highest, logit) => Math.max(highest, logit), -Infinity);
  return highest / temperature + Math.log(logits.reduce((sum, logit) => sum + Math.exp((logit - highest) / temperature), 0));
}

function networkOf({ mean, std, steps }, tensors, { channels, height, width }) {
  const computed = steps.map((step) => [OPERATIONS[step.op](tensors, step), step.from]), plane = height * width;
  return (pixels) => {
    const data = new Float32Array(channels * plane);
    pixels.forEach((pixel, i) => {
      const c = Math.floor(i / plane);
      data[i] = f32(f32(pixel / 255) - f32(mean[c])) / f32(std[c]);
    });
    const values = [{ channels, height, width, data }];
    for (const [compute, from] of computed) values.push(compute(...from.map((value) => values[value])));
    return values[values.length - 1].data;
  };
}
