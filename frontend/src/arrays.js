/** Arrays travel as one little-endian buffer with a small table of contents. */

/**
 * @param {string} base64
 * @returns {Uint8Array<ArrayBuffer>}
 */
export const decodeBase64 = (base64) => Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));

/**
 * Reads arrays by their place in the table of contents; null gives an empty one, numbers that the
 * figure worked out stand for themselves. The bytes are copied, because a DataView from a widget may begin at an offset that typed arrays refuse.
 * @param {import("./spec").ArrayInfo[]} arrays
 * @param {ArrayBufferView} bytes
 * @returns {import("./spec").Context["read"]}
 */
export const reader = (arrays, bytes) => (ref) => {
  if (!ref || Array.isArray(ref)) return new Float32Array(ref || []);
  const { dtype, shape, offset } = arrays[ref.array];
  const Kind = { float32: Float32Array, int32: Int32Array }[dtype];
  const end = offset + shape.reduce((product, n) => product * n, 4);
  if (!Kind || end > bytes.byteLength) {
    throw new Error(`cannot read array ${ref.array} (${dtype})`);
  }
  const buffer = /** @type {ArrayBuffer} */ (bytes.buffer);
  return new Kind(buffer.slice(bytes.byteOffset + offset, bytes.byteOffset + end));
};
