"""Examples of calls, as `--help` shows them below the options of a command."""

from __future__ import annotations

EXAMPLES = """\
examples:
  hsdc compile                         lock every run of the default profile, demo
  hsdc compile --check                 say what is stale and why, write nothing (for CI)
  hsdc run run4 run8_restore_r4        bring two runs up to date
  hsdc run --profile full run4         the same specs on the real data, model and device

exit codes: 0 done; 1 the answer is no; 2 the spec or the call is wrong; 3 policy; 4 the environment;
            70 a fault of hsdc; 75 interrupted or busy, run again
"""

EXAMPLES_OF = {
    "init": """\
examples:
  hsdc init                                          a project in the current folder
  hsdc init trial                                    the same in a new folder
""",
    "new": """\
examples:
  hsdc new run9 --from run4                          a run that changes nothing yet
  hsdc new run9 --from run4 --set training.learning_rate=2e-5 --why 'Slower may be steadier.'
  hsdc new run9 --from run4 --set training.epochs=8 --set training.r_drop=null --why 'Shorter.'
""",
    "set": """\
examples:
  hsdc set run9 training.learning_rate=3e-5          one value; the rest of the file stays
  hsdc set run9 training.epochs=8 budget=2           a second change, and the budget for it
  hsdc set run9 'heads.sentiment.labels=[negative, positive]' 'why=Two labels are enough.'
""",
    "fmt": """\
examples:
  hsdc fmt                                           format all of specs/
  hsdc fmt specs/run4.yaml specs/profiles            a file, and a folder
  hsdc fmt --check                                   write nothing, say what would change (for CI)
""",
    "compile": """\
examples:
  hsdc compile                                       lock every run of the default profile, demo
  hsdc compile run4 --profile full                   one run and what it stands on, for the real data
  hsdc compile --check                               say what is stale and why, write nothing
  hsdc compile --check --format github               the same as annotations of a pull request
""",
    "run": """\
examples:
  hsdc run                                           whatever is out of date
  hsdc run run4 run8_restore_r4                      two runs, in this order
  hsdc run run4 --profile full --frozen              on a node that has manifests, and no specs
""",
    "explain": """\
examples:
  hsdc explain run4                                  every value, and what set it
  hsdc explain run8_restore_r4 training.learning_rate
  hsdc explain E801                                  what a message means, and the way out
""",
    "show": """\
examples:
  hsdc show run4                                     the whole run, with the origin of each line
  hsdc show run4 --json                              the same for programs
""",
    "ls": """\
examples:
  hsdc ls                                            the tree of runs, their budgets, scores and states
  hsdc ls --profile full                             the same for another place
""",
    "diff": """\
examples:
  hsdc diff                                          the working tree against HEAD
  hsdc diff main...HEAD --markdown                   a branch, as the comment of a pull request
  hsdc diff HEAD~1 --exit-code                       exit 1 where values or inputs differ
""",
    "verify": """\
examples:
  hsdc verify run4                                   what exists of it, hashed again
  hsdc verify run4 --profile full --rerun            every stage executed again, and compared
  hsdc verify --store                                all that is stored and generated
  hsdc verify run4 --signed --trust team.pem         who has signed it, too
""",
    "sign": """\
examples:
  hsdc sign --new-key ~/.config/hsdc.pem             a pair of keys: one to sign with, .pub to be trusted
  hsdc sign run4 run8_restore_r4 --key ~/.config/hsdc.pem
  hsdc sign run4 --profile full --key ~/.config/hsdc.pem
""",
    "export": """\
examples:
  hsdc export lora_validation --to out/adapter       the adapter, its configuration and its card
  hsdc export lora_validation --to out/model --merge
  hsdc export lora_validation --push OWNER/NAME      with your own login there; a new repository is private
  hsdc export po_distillation_data --to out/rows     the rows of a data run, their card and metadata
""",
    "compare": """\
examples:
  hsdc compare run4 run6 run7                        against run4, macro-F1 over the same rows
  hsdc compare run4 run4:tuned                       two variants of the decisions of one run
  hsdc compare base prompt2 --metric 'fpr[hate]@group=lgbtq' --margin 0.02
  hsdc compare run4 run6 --markdown                  for the comment of a pull request
""",
    "gc": """\
examples:
  hsdc gc                                            what nobody needs, and how large it is
  hsdc gc --delete                                   remove it
""",
    "schema": """\
examples:
  hsdc schema                                        write schemas/*.schema.json
  hsdc schema --check                                exit 1 where one of them is stale
""",
}
