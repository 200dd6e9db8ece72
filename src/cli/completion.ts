/** `mdevkit completion`: what makes a shell ask `mdevkit __complete` for the words that fit. */

export const SHELLS = ['bash', 'zsh', 'fish'] as const

type Shell = (typeof SHELLS)[number]

/** To be sourced, or put where the shell looks for completions. */
export function completionScript(shell: Shell): string {
  return SCRIPTS[shell]
}

/**
 * Each calls `mdevkit __complete` with the words up to the cursor, the unfinished one last. What comes back is a line for
 * each word that fits: the word, a tab, and what it is. A first line `:files` asks for the names of files instead.
 */
const SCRIPTS = {
  bash: `# bash completion of mdevkit
_mdevkit() {
  local word=\${COMP_WORDS[COMP_CWORD]} line
  local -a lines
  # where '=' breaks words, --option=value has become three of them
  if [[ $word == = ]]; then word=; fi
  COMPREPLY=()
  mapfile -t lines < <("\${COMP_WORDS[0]}" __complete "\${COMP_WORDS[@]:1:COMP_CWORD-1}" "$word" 2>/dev/null)
  if [[ \${lines[0]} == :files ]]; then
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
    return
  fi
  for line in "\${lines[@]}"; do
    COMPREPLY+=("\${line%%$'\\t'*}")
  done
}
complete -F _mdevkit mdevkit mdevctl
`,
  zsh: `#compdef mdevkit mdevctl
_mdevkit() {
  local line
  local -a lines found
  lines=("\${(@f)$("\${words[1]}" __complete "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ \${lines[1]} == :files ]]; then
    _files
    return
  fi
  for line in "\${lines[@]}"; do
    [[ -n $line ]] && found+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}")
  done
  _describe mdevkit found
}
if [[ \${funcstack[1]} == _mdevkit ]]; then
  _mdevkit "$@"
else
  compdef _mdevkit mdevkit mdevctl
fi
`,
  fish: `# fish completion of mdevkit
function __mdevkit_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l lines ($words[1] __complete $words[2..-1] 2>/dev/null)
    if test "$lines[1]" = :files
        __fish_complete_path (commandline -ct)
    else
        printf '%s\\n' $lines
    end
end
complete -c mdevkit -f -a '(__mdevkit_complete)'
complete -c mdevctl -f -a '(__mdevkit_complete)'
`,
} as const satisfies Record<Shell, string>
