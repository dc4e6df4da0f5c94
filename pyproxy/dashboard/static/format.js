// Numbers as people read them.

export const count = (value) => Number(value).toLocaleString("en");

export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

export function duration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.floor(seconds)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

export function latency(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds <= 0.0001) return "< 0.1 ms";
  if (seconds < 0.01) return `${(seconds * 1000).toFixed(1)} ms`;
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
}

export function rate(value) {
  if (value === null || value === undefined) return "–";
  return value < 10 && value > 0 ? value.toFixed(1) : count(Math.round(value));
}

export function ratio(clients, servers) {
  if (!servers) return "–";
  const value = clients / servers;
  return `${value < 10 ? value.toFixed(1) : count(Math.round(value))} : 1`;
}

export const share = (part, whole) => (whole > 0 ? `${Math.round((100 * part) / whole)} %` : "–");

export const clock = (time) =>
  new Date(time).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
