"""Reports in a real browser: `evolora report` of a paired bench, a sequential bench, a training run and a search with a tiny model, light and dark, narrow and wide.

Each page must load without an error on the console, ask for nothing but itself, draw every plot, stay inside the window and be readable. EVOLORA_BINARY
names the program; screenshots go to the folder in EVOLORA_SCREENSHOTS if it is set. Exit status 77 (skipped, for CTest) without a Chromium.
"""

import base64
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import devtools  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
EVOLORA = os.environ.get("EVOLORA_BINARY", str(ROOT / "build/release/evolora"))
SCREENSHOTS = os.environ.get("EVOLORA_SCREENSHOTS")
HOSTILE = "</script><img src=x onerror=alert(1)> & \"quoted\" 'name'"

# What is in the page once it is drawn. A colour of a text and of what lies behind it give the contrast of WCAG 2.2 (1.4.3): 4.5 is its level AA.
INSPECT = """(() => {
  const numbers = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
  const light = (colour) => {
    const [r, g, b] = numbers(colour).slice(0, 3).map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      const parts = numbers(colour);
      if (parts.length === 3 || parts[3] === 1) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const contrast = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const texts = [...document.querySelectorAll("main *, footer")].filter((e) =>
    [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) && e.getClientRects().length && e.tagName !== "STYLE");
  const faint = [], outside = [];
  for (const e of texts) {
    const style = getComputedStyle(e);
    const colour = e instanceof SVGElement ? style.fill : style.color;
    if (colour === "none" || e.closest("title")) continue;
    const value = contrast(colour, behind(e instanceof SVGElement ? e.closest("div") : e));
    if (value < 4.5) faint.push(`${e.tagName} ${e.textContent.slice(0, 30)}: ${value.toFixed(2)}`);
    const box = e.getBoundingClientRect();
    if (e instanceof SVGElement && (box.left < -1 || box.right > innerWidth + 1)) outside.push(`${e.textContent.slice(0, 30)} ${box.left} ${box.right}`);
  }
  const plots = [...document.querySelectorAll(".plot")].map((plot) => ({
    marks: plot.querySelectorAll("svg [aria-label] path, svg circle, svg rect, svg line").length,
    width: plot.querySelector("svg")?.getBoundingClientRect().width ?? 0,
    room: plot.clientWidth,
    bad: [...plot.querySelectorAll("svg *")].some((e) => [...e.attributes].some((a) => /NaN|undefined|Infinity/.test(a.value))),
    label: plot.getAttribute("aria-label"),
    tables: plot.parentElement.querySelectorAll("details table tbody tr").length,
  }));
  return {
    title: document.title, plots, faint, outside, images: document.images.length,
    first: document.querySelector("h1").nextElementSibling.className,
    word: document.querySelector(".verdict .word").textContent,
    paper: getComputedStyle(document.body).backgroundColor, too_wide: document.documentElement.scrollWidth - innerWidth,
    height: document.documentElement.scrollHeight,
  };
})()"""


def evolora(*arguments):
    return subprocess.run([EVOLORA, *map(str, arguments)], check=True, capture_output=True, text=True, timeout=600).stdout


class Reports(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        folder = cls.folder = pathlib.Path(cls.scratch.name)
        shutil.copytree(ROOT / "tests/data/tiny_llama_golden/model", folder / "model")
        (folder / "data").mkdir()
        for split in ("train", "valid", "test"):
            records = [json.dumps({"prompt": f"question {i}", "completion": f"answer {i * i}"}) for i in range(12)]
            (folder / "data" / f"{split}.jsonl").write_text("\n".join(records) + "\n", encoding="utf-8")
        common = ["--model", folder / "model", "--data", folder / "data", "--iters", 20, "--steps-per-report", 2, "--steps-per-eval", 5, "--num-layers", -1,
                  "--batch-size", 2, "--val-batches", 2, "--learning-rate", "1e-3"]
        evolora("bench", *common, "--candidate", "learning_rate=1.1e-3", "--candidate", f"name={HOSTILE}", "--pairs", 5, "--out", folder / "paired")
        evolora("bench", *common, "--candidate", "kernels=cpu", "--design", "sequential", "--trials", 3, "--out", folder / "sequential")
        evolora("train", "--train", *common, "--adapter-path", folder / "run", "--quiet")
        evolora("evolve", "run", "--model", folder / "model", "--data", folder / "data", "--start", "plain", "--iters", 2, "--num-layers", -1, "--batch-size", 2, "--compare",
                "random,evolution", "--budget-evaluations", 4, "--confirm-pairs", 5, "--out", folder / "search")
        for name in ("paired", "sequential", "run", "search"):
            evolora("report", folder / name, "--out", folder / f"{name}.html")
        if "has no plot library" in (folder / "run.html").read_text(encoding="utf-8"):
            raise unittest.SkipTest("this build has no plot library")
        cls.browser = devtools.Browser(devtools.find_browser()).__enter__()
        for domain in ("Page", "Runtime", "Log", "Network"):
            cls.browser.call(f"{domain}.enable")

    @classmethod
    def tearDownClass(cls):
        cls.browser.__exit__()
        cls.scratch.cleanup()

    def look(self, page, scheme, width):
        """What INSPECT finds on a page, and what the browser complained about."""
        browser = self.browser
        browser.events.clear()
        browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        address = page.as_uri()
        browser.call("Page.navigate", url=address)
        browser.wait_for("Page.loadEventFired")
        browser.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        found = browser.evaluate(INSPECT)
        if SCREENSHOTS:
            browser.call("Emulation.setDeviceMetricsOverride", width=width, height=min(found["height"], 8000), deviceScaleFactor=1, mobile=False)
            image = browser.call("Page.captureScreenshot", format="png")["data"]
            pathlib.Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
            (pathlib.Path(SCREENSHOTS) / f"{page.stem}-{scheme}-{width}.png").write_bytes(base64.b64decode(image))
        complaints = []
        for event in browser.events:
            method, parameters = event.get("method"), event.get("params", {})
            is_call = method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert")
            is_entry = method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning")
            is_request = method == "Network.requestWillBeSent" and parameters["request"]["url"] != address
            if is_call or is_entry or is_request or method in ("Runtime.exceptionThrown", "Page.javascriptDialogOpening"):
                complaints.append(json.dumps(event)[:500])
        return found, complaints

    def check(self, name, plots, word):
        papers = {}
        for scheme in ("light", "dark"):
            for width in (400, 1400):
                with self.subTest(page=name, scheme=scheme, width=width):
                    found, complaints = self.look(self.folder / f"{name}.html", scheme, width)
                    papers[scheme] = found["paper"]
                    self.assertEqual(complaints, [])
                    self.assertTrue(found["first"].startswith("verdict"), "the verdict comes first")
                    self.assertIn(found["word"], word)
                    self.assertEqual(found["images"], 0, "a name became markup")
                    self.assertEqual(len(found["plots"]), plots)
                    for plot in found["plots"]:
                        self.assertGreater(plot["marks"], 3, plot)
                        self.assertGreater(plot["tables"], 0, plot)
                        self.assertFalse(plot["bad"], plot)
                        self.assertTrue(plot["label"])
                        self.assertLessEqual(plot["width"], plot["room"] + 1, plot)
                        self.assertGreater(plot["width"], 250, plot)
                    self.assertLessEqual(found["too_wide"], 0, "the page scrolls sideways")
                    self.assertEqual(found["faint"], [])
                    self.assertEqual(found["outside"], [])
        self.assertNotEqual(papers["light"], papers["dark"])

    def test_paired_bench(self):
        self.check("paired", 7, ["ACCEPT", "REJECT", "INCONCLUSIVE"])

    def test_sequential_bench(self):
        self.check("sequential", 5, ["STRONG", "IMPROVED", "MIXED OR WORSE", "NO CLEAR DIFFERENCE", "NOT THE SAME LOSS"])

    def test_training_run(self):
        self.check("run", 4, ["completed"])

    def test_search(self):
        self.check("search", 3, ["CONFIRMED", "NO CLAIM"])

    def test_a_script_that_is_not_ours_does_not_run(self):
        page = self.folder / "forged.html"
        html = (self.folder / "run.html").read_text(encoding="utf-8")
        page.write_text(html.replace("</main>", "<script>document.title = 'forged'</script></main>"), encoding="utf-8")
        found, complaints = self.look(page, "light", 1400)
        self.assertNotEqual(found["title"], "forged")
        self.assertTrue(any("Content Security Policy" in c for c in complaints), complaints)


if __name__ == "__main__":
    if devtools.find_browser() is None:
        print("no Chromium found: not looked at (tools/bootstrap.sh browser installs it)")
        sys.exit(77)
    unittest.main()
