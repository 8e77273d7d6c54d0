#!/bin/sh
# Kills a running search at random moments (SIGKILL), N times, and checks that no finished evaluation is lost or changed: tools/evolve_kills.sh 1000
# Starts new searches as old ones end. Leaves its folder behind when something is wrong.
set -eu
kills=${1:?usage: tools/evolve_kills.sh N}
root=$(cd "$(dirname "$0")/.." && pwd)
evolora=$root/build/release/evolora
folder=$(mktemp -d)
mkdir "$folder/data"
for split in train valid; do
  python3 -c 'for i in range(24): print("{\"prompt\": \"question %d\", \"completion\": \"answer %d\"}" % (i, i * i))' > "$folder/data/$split.jsonl"
done
search=0
new_search() {
  search=$((search + 1))
  arguments="--model $root/tests/data/tiny_llama_golden/model --data $folder/data --iters 2 --pairs 1 --num-layers -1 --batch-size 2"
  command="$evolora evolve run $arguments --start plain --budget-evaluations 40 --confirm-pairs 5 --seed $search --out $folder/$search"
}
# Every measurement so far, in order, as text.
content() {
  python3 -c '
import sqlite3, sys
base = sqlite3.connect("file:%s?mode=ro" % sys.argv[1], uri=True)
for row in base.execute("SELECT m.*, i.digest, i.genome FROM measurements m JOIN individuals i USING (run, number) ORDER BY seq"): print(row)
' "$folder/$search/search.sqlite"
}
new_search
: > "$folder/before"
done=0
while [ "$done" -lt "$kills" ]; do
  $command > "$folder/log" 2>&1 &
  child=$!
  sleep "$(python3 -c 'import random; print(random.uniform(0.02, 1.5))')"
  if kill -9 "$child" 2>/dev/null; then done=$((done + 1)); fi
  status=0
  wait "$child" || status=$?
  if [ "$status" -ne 0 ] && [ "$status" -ne 137 ]; then echo "ended with status $status: $(cat "$folder/log") ($folder)"; exit 1; fi
  if [ -e "$folder/$search/search.sqlite" ]; then
    content > "$folder/now"
    if ! head -n "$(wc -l < "$folder/before")" "$folder/now" | cmp -s - "$folder/before"; then echo "kill $done: something was lost ($folder)"; exit 1; fi
    mv "$folder/now" "$folder/before"
    command="$evolora evolve run --resume --out $folder/$search"
  fi
  if [ "$status" -eq 0 ]; then
    new_search
    : > "$folder/before"
  fi
done
echo "$kills kills in $search searches: nothing was lost"
rm -r "$folder"
