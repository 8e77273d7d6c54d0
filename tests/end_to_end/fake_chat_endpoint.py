"""An OpenAI-compatible endpoint for tests: prints its port, serves until POST /quit or for a minute at most.

POST /KIND/chat/completions, where KIND says how it behaves:
  edit      a SEARCH/REPLACE edit that raises the first "kTile = N;" of the prompt, or a rewrite of it when the prompt asks for fenced code
  settings  another "head_rows_per_chunk" every time, as a JSON object
  digest    the SHA-256 of the Authorization header, so that a test knows which key arrived without the key being written anywhere
  busy      status 429 with Retry-After 0 twice, then like edit
  cut       half of a reply, then the connection closes
  huge      10 MB
  slow      nothing for five seconds
  redirect  307 to /stolen, which counts
POST /stolen/count answers how many requests came by redirect.
"""

import hashlib
import http.server
import json
import re
import sys
import threading

state = {"stolen": 0, "busy": 0, "settings": 0}


def edit_of(prompt):
    tile = re.search(r"^.*kTile = (\d+);.*$", prompt, re.MULTILINE)
    if tile is None:
        return "I see nothing to change."
    line = tile.group(0)
    better = line.replace(f"kTile = {tile.group(1)};", f"kTile = {int(tile.group(1)) + 1};")
    if "<<<<<<< SEARCH" in prompt:
        return f"A larger tile.\n<<<<<<< SEARCH\n{line}\n=======\n{better}\n>>>>>>> REPLACE\n"
    return f"A larger tile.\n```cpp\n{better}\n```\n"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body, **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def say(self, text, request):
        prompt_tokens = sum(len(m["content"]) for m in request.get("messages", [])) // 4
        self.answer(200, {"id": "x", "object": "chat.completion", "created": 0, "model": request.get("model", "fake"),
                          "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                          "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": len(text) // 4,
                                    "total_tokens": prompt_tokens + len(text) // 4}})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind = self.path.split("/")[1]
        if kind == "quit":
            self.answer(200, {})
            threading.Thread(target=self.server.shutdown).start()
            return
        if kind == "stolen":
            if not self.path.endswith("/count"):
                state["stolen"] += 1
            self.answer(200, {"stolen": state["stolen"]})
            return
        request = json.loads(body)
        prompt = "\n".join(m["content"] for m in request["messages"])
        if kind == "busy" and state["busy"] < 2:
            state["busy"] += 1
            self.answer(429, {"error": {"message": "slow down"}}, Retry_After="0")
        elif kind == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(b'{"choices": [{"mess')
            self.close_connection = True
        elif kind == "huge":
            try:
                self.answer(200, b" " * 10_000_000)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True
        elif kind == "slow":
            threading.Event().wait(5)
            self.close_connection = True
        elif kind == "redirect":
            self.answer(307, {}, Location=f"http://127.0.0.1:{self.server.server_port}/stolen")
        elif kind == "settings":
            state["settings"] += 1
            self.say(f"Other chunks.\n```json\n{json.dumps({'head_rows_per_chunk': 16 + state['settings']})}\n```\n", request)
        elif kind == "digest":
            self.say(hashlib.sha256(self.headers.get("Authorization", "").encode()).hexdigest(), request)
        else:
            self.say(edit_of(prompt), request)


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    timer = threading.Timer(float(sys.argv[1]) if len(sys.argv) > 1 else 60, server.shutdown)
    timer.daemon = True
    timer.start()
    server.serve_forever()


if __name__ == "__main__":
    main()
