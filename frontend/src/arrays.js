/** Arrays travel as one little-endian buffer with a small table of contents. */

/**
 * @param {string} base64
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function decodeBase64(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/**
 * A typed view of one array. The bytes are copied, because a DataView from a widget may begin at an
 * offset that typed arrays refuse.
 * @param {import("./spec").ArrayInfo} info
 * @param {ArrayBufferView} bytes
 * @returns {import("./spec").Numbers}
 */
export function readArray({ dtype, shape, offset }, bytes) {
  const Kind = { float32: Float32Array, int32: Int32Array }[dtype];
  if (!Kind) throw new Error(`Array type "${dtype}" is not known here; float32 and int32 are.`);
  const size = shape.reduce((product, n) => product * n, 1) * 4;
  if (!(offset >= 0) || offset + size > bytes.byteLength) {
    throw new Error(
      `The figure's data end at byte ${bytes.byteLength}; an array needs ${offset + size}.`,
    );
  }
  const start = bytes.byteOffset + offset;
  const buffer = /** @type {ArrayBuffer} */ (bytes.buffer);
  return { values: new Kind(buffer.slice(start, start + size)), shape };
}

/**
 * @param {import("./spec").ArrayInfo[]} arrays
 * @param {ArrayBufferView} bytes
 * @returns {(ref: import("./spec").Ref) => import("./spec").Numbers}
 */
export function reader(arrays, bytes) {
  return ({ array }) => {
    if (!arrays[array]) throw new Error(`The figure has no array ${array}.`);
    return readArray(arrays[array], bytes);
  };
}
