// Starts Swagger UI on the gateway's own document. Requests carry the page's session, or a key given under Authorize.

let theme = null;
try {
  theme = localStorage.getItem("theme");
} catch {
  // the browser keeps nothing
}
const dark = theme === "dark" || (theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
document.documentElement.classList.toggle("dark-mode", dark);

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  displayOperationId: true,
  displayRequestDuration: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  filter: true,
  tryItOutEnabled: true,
  validatorUrl: null, // never asks another host
});
