// Auto, light or dark: applied before the page is drawn, and remembered if the browser allows it.
(() => {
  const kKey = 'turnstile-theme';
  const remembered = () => {
    try {
      return localStorage.getItem(kKey);
    } catch {
      return null;  // a report in a sandbox has no storage
    }
  };
  const use = (theme) => {
    if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
  };
  use(remembered());
  document.addEventListener('DOMContentLoaded', () => {
    const choice = document.getElementById('theme');
    const chosen = choice.querySelector(`input[value="${document.documentElement.dataset.theme ?? 'auto'}"]`);
    chosen.checked = true;
    choice.addEventListener('change', (event) => {
      use(event.target.value);
      try {
        localStorage.setItem(kKey, event.target.value);
      } catch {
        // then the choice lasts until the page is closed
      }
    });
  });
})();
