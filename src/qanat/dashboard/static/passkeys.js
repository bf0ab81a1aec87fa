// Passkeys: what the server asks is put to the device, and its answer goes back in the form.
(function () {
  "use strict";
  const forms = document.querySelectorAll("form[data-passkey]");
  if (!forms.length) return;
  const able = window.isSecureContext && window.PublicKeyCredential;

  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  function text(buffer) {
    let binary = "";
    for (const each of new Uint8Array(buffer)) binary += String.fromCharCode(each);
    return btoa(binary).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  }
  const opened = (list) => (list || []).map((each) => ({ ...each, id: bytes(each.id) }));

  async function made(options) {
    const publicKey = {
      ...options, challenge: bytes(options.challenge), user: { ...options.user, id: bytes(options.user.id) },
      excludeCredentials: opened(options.excludeCredentials),
    };
    const found = await navigator.credentials.create({ publicKey });
    const transports = found.response.getTransports ? found.response.getTransports() : [];
    return sent(found, { attestationObject: text(found.response.attestationObject), transports });
  }
  async function given(options) {
    const publicKey = { ...options, challenge: bytes(options.challenge), allowCredentials: opened(options.allowCredentials) };
    const found = await navigator.credentials.get({ publicKey });
    const handle = found.response.userHandle;
    return sent(found, {
      authenticatorData: text(found.response.authenticatorData), signature: text(found.response.signature),
      userHandle: handle ? text(handle) : null,
    });
  }
  const sent = (found, more) => JSON.stringify({
    id: found.id, rawId: text(found.rawId), type: found.type, clientExtensionResults: {},
    response: { clientDataJSON: text(found.response.clientDataJSON), ...more },
  });

  for (const form of forms) {
    const problem = form.querySelector(".passkey-problem");
    const button = form.querySelector("button");
    function tell(message) {
      problem.textContent = message;
      problem.hidden = !message;
    }
    if (!able) {
      button.disabled = true;
      tell("This browser has no passkeys here: they need HTTPS and a name, or localhost.");
      continue;
    }
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      tell("");
      button.disabled = true;
      try {
        const answer = await fetch(form.dataset.options, {
          method: "POST", body: new URLSearchParams(new FormData(form)), headers: { "hx-request": "true" },
        });
        if (!answer.ok) {
          const page = new DOMParser().parseFromString(await answer.text(), "text/html");
          tell((page.querySelector("b") || page.body).textContent.trim());
          return;
        }
        const options = await answer.json();
        form.elements.credential.value = await (form.dataset.passkey === "make" ? made(options) : given(options));
        if (form.elements.current) form.elements.current.value = "";
        form.submit();
      } catch (error) {
        tell(error.name === "NotAllowedError" ? "Nothing was chosen, or it took too long." :
          error.name === "InvalidStateError" ? "This device has a passkey for you already." : String(error.message || error));
      } finally {
        button.disabled = false;
      }
    });
  }
})();
