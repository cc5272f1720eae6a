// A headless Chromium, and pages that note what goes wrong in them.
import { chromium } from "playwright-core";

const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

const executablePath = process.env.MOORLINE_CHROMIUM || "/usr/bin/chromium";

export const launch = () => chromium.launch({ executablePath, args: FLAGS, timeout: 30000 });

/** A page in a context of its own. `page.troubles` collects its console errors and uncaught exceptions. */
export async function open(browser, url) {
  const page = await (await browser.newContext()).newPage();
  page.setDefaultTimeout(10000);
  page.troubles = [];
  page.on("console", (message) => message.type() === "error" && page.troubles.push(message.text()));
  page.on("pageerror", (error) => page.troubles.push(String(error)));
  await page.goto(url);
  return page;
}

/** A bare WebSocket in the page: its frames and its close are kept for the test to look at. */
export class Socket {
  static async open(page, path, protocols = []) {
    const handle = await page.evaluateHandle(([path, protocols]) => {
      const socket = new WebSocket(`ws://${location.host}${path}`, protocols);
      const state = { socket, frames: [], closed: null };
      socket.onmessage = ({ data }) => state.frames.push(data === "pong" ? data : JSON.parse(data));
      socket.onclose = ({ code, reason }) => { state.closed = { code, reason }; };
      return state;
    }, [path, protocols]);
    return new Socket(page, handle);
  }

  constructor(page, handle) {
    Object.assign(this, { page, handle });
  }

  /** Waits for a frame for which all of `fields` are as given; the first such frame. */
  async frame(fields) {
    const found = await this.page.waitForFunction(([state, fields]) => {
      if (state.closed) throw new Error(`closed: ${JSON.stringify(state.closed)}`);
      return state.frames.find((frame) => Object.entries(fields).every(([name, value]) => frame[name] === value));
    }, [this.handle, fields]);
    return found.jsonValue();
  }

  frames = () => this.handle.evaluate((state) => state.frames);
  closed = () => this.handle.evaluate((state) => state.closed);
  send = (frame) => this.handle.evaluate((state, text) => state.socket.send(text), JSON.stringify(frame));
  close = () => this.handle.evaluate((state) => state.socket.close());
}
