/* Goes on with the rest of many runs, unless the person stops it. Without this, they press the button. */
"use strict";

{
    const PAUSE = 600; // long enough to read the counts and reach for "Stop here"
    const form = document.getElementById("hookflow-continue");
    if (form) {
        const timer = setTimeout(() => form.submit(), PAUSE);
        const stop = form.querySelector(".hookflow-leave");
        for (const event of ["click", "focus", "pointerdown"]) {
            stop.addEventListener(event, () => clearTimeout(timer));
        }
    }
}
