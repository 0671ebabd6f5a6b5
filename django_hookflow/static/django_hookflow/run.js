/* Keeps the page of a living run up to date: asks for it again, and replaces the regions that have changed.

   What a reader has opened stays open, and focus stays where it is. It asks more seldom while nothing happens or the
   server does not answer, not at all while the page is hidden, and no more once the run has ended. */
"use strict";

(function () {
    const SHORTEST = 1500;
    const LONGEST = 15000;
    const LONGEST_AFTER_ERRORS = 60000;
    const REMEMBERED = "django-hookflow-live";

    let delay = SHORTEST;
    let timer = null;
    let asking = null;

    function page() {
        return document.getElementById("hookflow-run");
    }

    function lives() {
        return page().dataset.live === "yes";
    }

    function isOn() {
        try {
            return window.localStorage.getItem(REMEMBERED) !== "off";
        } catch (error) {
            return true; // storage may be forbidden; then the switch holds for this page alone
        }
    }

    function remember(on) {
        try {
            window.localStorage.setItem(REMEMBERED, on ? "on" : "off");
        } catch (error) {
            // as above
        }
    }

    function address() {
        const url = new URL(window.location.href);
        url.searchParams.set("fragment", "1");
        url.searchParams.delete("integrity");
        url.hash = "";
        return url;
    }

    /* How an element is found again in a region that has been replaced. */
    function keyOf(element) {
        if (element.id) {
            return "#" + element.id;
        }
        const details = element.closest("details[data-key]");
        const within = details ? details.dataset.key : "";
        return [element.tagName, within, element.getAttribute("href"), element.textContent.slice(0, 80)].join("|");
    }

    function focusable(region) {
        return region.querySelectorAll("a[href], button, input, select, summary, [tabindex]");
    }

    function replace(region, next) {
        const active = region.contains(document.activeElement) ? document.activeElement : null;
        if (active && /^(INPUT|SELECT|TEXTAREA)$/.test(active.tagName)) {
            return false; // somebody is filling it in
        }
        const key = active && keyOf(active);
        const opened = new Map();
        for (const details of region.querySelectorAll("details[data-key]")) {
            opened.set(details.dataset.key, details.open);
        }
        const incoming = document.importNode(next, true);
        for (const details of incoming.querySelectorAll("details[data-key]")) {
            if (opened.has(details.dataset.key)) {
                details.open = opened.get(details.dataset.key);
            }
        }
        region.replaceWith(incoming);
        if (key) {
            const again = Array.from(focusable(incoming)).find((element) => keyOf(element) === key);
            if (again) {
                again.focus({ preventScroll: true });
            }
        }
        return true;
    }

    /* The markup as the server sent it: what has been opened since is not a change. */
    const sent = new WeakMap();

    function markup(region) {
        if (!sent.has(region)) {
            sent.set(region, region.outerHTML);
        }
        return sent.get(region);
    }

    /* Takes over what has changed, and returns whether anything has happened: that time goes by does not count. */
    function update(text) {
        const next = new DOMParser().parseFromString(text, "text/html").getElementById("hookflow-run");
        if (!next) {
            throw new Error("no page of a run: " + text.slice(0, 80));
        }
        for (const region of page().querySelectorAll("[data-region]")) {
            const incoming = next.querySelector("#" + region.id);
            if (!incoming || markup(region) === incoming.outerHTML) {
                continue;
            }
            const html = incoming.outerHTML;
            if (replace(region, incoming)) {
                sent.set(document.getElementById(region.id), html);
            }
        }
        if (page().dataset.status !== next.dataset.status) {
            document.getElementById("hookflow-live-status").textContent =
                document.getElementById("hookflow-sentence").textContent;
        }
        moveSlider(next);
        const happened = page().dataset.seq !== next.dataset.seq;
        page().dataset.seq = next.dataset.seq;
        page().dataset.status = next.dataset.status;
        page().dataset.live = next.dataset.live;
        return happened;
    }

    /* The slider is no region: it stays in the hand of whoever holds it. */
    function moveSlider(next) {
        const slider = document.getElementById("hookflow-as-of");
        const newest = next.querySelector("#hookflow-as-of");
        if (slider && newest && slider.max !== newest.max && document.activeElement !== slider) {
            slider.max = newest.max;
            slider.value = newest.value;
            slider.dataset.times = newest.dataset.times;
            showPlace(slider);
        }
    }

    /* The event that the slider stands at, and when it was; of a long log, when the one before it was that has a time here. */
    function showPlace(slider) {
        const times = JSON.parse(slider.dataset.times || "[]");
        const known = times.filter(([seq]) => seq <= Number(slider.value)).pop();
        const time = known ? (known[0] === Number(slider.value) ? " " : " ≥ ") + known[1] : "";
        document.getElementById("hookflow-as-of-seq").textContent = "#" + slider.value + time;
    }

    async function ask() {
        asking = new AbortController();
        const began = performance.now();
        try {
            const answer = await fetch(address(), { credentials: "same-origin", signal: asking.signal });
            if (!answer.ok || answer.redirected) {
                throw new Error("answer " + answer.status);
            }
            const text = await answer.text();
            const took = performance.now() - began;
            delay = update(text) ? SHORTEST : Math.min(delay * 1.5, LONGEST);
            delay = Math.max(delay, 5 * took); // a page that costs the server much is asked for more seldom
        } catch (error) {
            if (error.name === "AbortError") {
                return;
            }
            delay = Math.min(delay * 2, LONGEST_AFTER_ERRORS);
        } finally {
            asking = null;
        }
        plan();
    }

    function plan() {
        window.clearTimeout(timer);
        if (lives() && isOn() && !document.hidden) {
            timer = window.setTimeout(ask, delay);
        }
    }

    function pause() {
        window.clearTimeout(timer);
        if (asking) {
            asking.abort();
        }
    }

    function begin() {
        delay = SHORTEST;
        plan();
    }

    function setUpSwitch() {
        const box = document.getElementById("hookflow-live");
        const label = document.getElementById("hookflow-live-label");
        if (!box) {
            return; // what was asked for cannot be shown
        }
        label.hidden = !lives();
        box.checked = isOn();
        box.addEventListener("change", () => {
            remember(box.checked);
            if (box.checked) {
                begin();
            } else {
                pause();
            }
        });
    }

    function setUpSlider() {
        const slider = document.getElementById("hookflow-as-of");
        if (slider) {
            slider.addEventListener("input", () => showPlace(slider));
        }
    }

    /* Copy buttons copy what stands before them. Only where the browser lets a page do that. */
    function setUpCopying() {
        if (!navigator.clipboard) {
            return;
        }
        page().classList.add("hookflow-can-copy");
        page().addEventListener("click", async (event) => {
            const button = event.target.closest(".hookflow-copy");
            if (!button) {
                return;
            }
            try {
                await navigator.clipboard.writeText(button.previousElementSibling.textContent);
                button.textContent = "Copied";
            } catch (error) {
                button.textContent = "Not copied";
            }
            window.setTimeout(() => {
                button.textContent = "Copy";
            }, 2000);
        });
    }

    document.addEventListener("DOMContentLoaded", () => {
        if (!page()) {
            return;
        }
        for (const region of page().querySelectorAll("[data-region]")) {
            markup(region);
        }
        setUpSwitch();
        setUpSlider();
        setUpCopying();
        document.addEventListener("visibilitychange", () => (document.hidden ? pause() : begin()));
        plan();
    });
})();
