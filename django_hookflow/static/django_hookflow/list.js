/* Of the lists: "/" goes to the search, the causes open where there is room, and beside each run's id appears a button that copies it. */
"use strict";

{
    const search = document.getElementById("searchbar");
    document.addEventListener("keydown", (event) => {
        const isTyping = event.target.closest("input, textarea, select, [contenteditable]");
        if (event.key === "/" && search && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
            event.preventDefault();
            search.focus();
            search.select();
        }
    });

    /* On a phone, as without this script, the list begins on the first screen and the causes are one touch away. */
    const causes = document.querySelector("details.hookflow-causes");
    if (causes && window.matchMedia("(min-width: 768px)").matches) {
        causes.open = true;
    }

    /* Only where the browser gives access to the clipboard: over https, and on localhost. */
    for (const link of navigator.clipboard ? document.querySelectorAll("#result_list .field-run a") : []) {
        const id = link.firstChild.textContent.trim(); // without the label
        const button = document.createElement("button");
        button.type = "button";
        button.className = "hookflow-copy-id";
        button.textContent = "Copy";
        button.setAttribute("aria-label", `Copy ${id}`);
        button.addEventListener("click", async () => {
            try {
                await navigator.clipboard.writeText(id);
                button.textContent = "Copied";
            } catch (error) {
                button.textContent = "Not allowed";
            }
            setTimeout(() => { button.textContent = "Copy"; }, 1500);
        });
        link.after(button);
    }
}
