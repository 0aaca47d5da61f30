"""`muster completion`: scripts for shells, and the words that the scripts offer.

The scripts only run ``muster completion --words`` with the typed command line, up to the cursor.
Each line of the answer is a word, or a word, `` -- `` and its meaning. The line ``:files`` means:
offer the names of files.
"""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path

from registry.schema import user_environment
from tui.cli.help import Page
from tui.cli.offers import FILES, offered, takes_files
from tui.cli.output import DONE
from tui.errors import UsageError

_SCRIPTS = {
    "bash": r"""_muster() {
    local line word text piece prefix i keep=
    local -a typed=() found=() texts=()
    for ((i = 1; i <= COMP_CWORD; i++)); do
        piece=${COMP_WORDS[i]}
        # bash makes words of their own of = and :
        if [[ ${#typed[@]} -gt 0 && ( -n $keep || $piece == [:=] ) ]]; then
            typed[${#typed[@]} - 1]+=$piece
            if [[ $piece == [:=] ]]; then keep=1; else keep=; fi
        else
            typed+=("$piece")
        fi
    done
    piece=${COMP_WORDS[COMP_CWORD]}
    if [[ $piece == [:=] ]]; then piece=; fi
    prefix=${typed[${#typed[@]} - 1]%"$piece"}
    COMPREPLY=()
    while IFS= read -r line; do
        word=${line%% -- *}
        text=${line#"$word"}
        if [[ $word == :files ]]; then
            compopt -o default 2>/dev/null
        else
            found+=("${word#"$prefix"}")
            texts+=("${text# -- }")
        fi
    done < <(muster completion --words "${typed[@]}" 2>/dev/null)
    for ((i = 0; i < ${#found[@]}; i++)); do
        # A list of several words, which bash does not insert, has their meanings.
        if [[ $COMP_TYPE == 63 && ${#found[@]} -gt 1 && -n ${texts[i]} ]]; then
            COMPREPLY+=("${found[i]}  -- ${texts[i]}")
        else
            COMPREPLY+=("${found[i]}")
        fi
        if [[ ${found[i]} == *: ]]; then compopt -o nospace 2>/dev/null; fi
    done
}
complete -F _muster muster
""",
    "zsh": r"""#compdef muster
_muster() {
    local line word text files=
    local -a found shown open open_shown
    while IFS= read -r line; do
        word=${line%% -- *}
        text=${line#$word}
        if [[ $word == :files ]]; then
            files=1
        elif [[ $word == *: ]]; then
            open+=("$word") open_shown+=("$word $text")
        else
            found+=("$word") shown+=("$word $text")
        fi
    done < <(muster completion --words "${(@Q)words[2,CURRENT]}" 2>/dev/null)
    (( $#open )) && compadd -S '' -l -d open_shown -- "${open[@]}"
    (( $#found )) && compadd -l -d shown -- "${found[@]}"
    [[ -n $files ]] && _files
    return 0
}
if [[ "${funcstack[1]}" == _muster ]]; then
    _muster "$@"
else
    compdef _muster muster
fi
""",
    "fish": r"""function __muster_words
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -e before[1]
    for line in (muster completion --words $before "$current" 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path "$current"
        else
            string replace -- ' -- ' \t "$line"
        end
    end
end
complete -c muster -f -a '(__muster_words)'
""",
}

SHELLS = tuple(_SCRIPTS)

PAGE = Page(
    """\
Prints a script for bash, zsh or fish that completes commands, options and their values,
filters, the ids of agents and tasks, and workspaces, with their meanings. Ids come from
the registries. For `kill` and `attach`, tmux is queried, too: it has the orphans, and the
sessions of agents that have ended.""",
    (
        ('eval "$(muster completion bash)"', "in ~/.bashrc"),
        ('eval "$(muster completion zsh)"', "in ~/.zshrc, after compinit"),
        ("muster completion fish > ~/.config/fish/completions/muster.fish", "once"),
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("shell", nargs="?", choices=SHELLS, help="the shell")
    # `main` removes ``--words`` and the words after it before the arguments are parsed.
    parser.set_defaults(words=None, code_without_reader=DONE)


def run(options: argparse.Namespace) -> int:
    """Runs `muster completion`."""
    if options.words is not None:
        # The current directory may have been removed.
        with suppress(FileNotFoundError):
            offers = offered(options.words, user_environment(), Path.cwd())
            for word, text in offers:
                print(f"{word} -- {text}" if text else word)
            if not offers and takes_files(options.words):
                print(FILES)
    elif options.shell is not None:
        print(_SCRIPTS[options.shell], end="")
    else:
        raise UsageError(f"the shell is missing: name one of {', '.join(_SCRIPTS)}")
    return DONE
