// A listing that is asked for while its part of the page can be seen, and never twice at a time.

export function asking(section, seconds, path, show) {
  let seen = false;
  let busy = false;
  let due = 0;
  let asked = "";

  new IntersectionObserver(([entry]) => { seen = entry.isIntersecting; }).observe(section);

  async function ask(wanted) {
    busy = true;
    try {
      const answer = await fetch(wanted);
      const value = await answer.json();
      if (!answer.ok) throw new Error(value.error);
      // A filter that was changed meanwhile makes the answer worthless.
      if (wanted === path()) show(value, "");
    } catch (problem) {
      show(null, problem.message);
    }
    busy = false;
  }

  return () => {
    const wanted = path();
    if (busy || !seen || (wanted === asked && Date.now() < due)) return;
    asked = wanted;
    due = Date.now() + 1000 * seconds;
    ask(wanted);
  };
}

export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== "" && value !== null);
  return new URLSearchParams(given).toString();
}
