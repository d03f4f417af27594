# Completion of zocaloctl for bash. Install it as
#   /usr/share/bash-completion/completions/zocaloctl
# or source it in ~/.bashrc. What can stand where is asked of `zocaloctl completion words`.

_zocaloctl() {
    local word blank rest=${COMP_LINE:0:COMP_POINT} words=() index

    # COMP_WORDS is broken at = and : also; what stands together in the line is one word here.
    for ((index = 0; index <= COMP_CWORD; index++)); do
        word=${COMP_WORDS[index]}
        blank=${rest%%[![:space:]]*}
        rest=${rest#"$blank"}
        ((index == COMP_CWORD)) && word=$rest
        if [[ $index -eq 0 || -n $blank ]]; then
            words+=("$word")
        else
            words[-1]+=$word
        fi
        rest=${rest#"$word"}
    done

    local command=${words[0]/#\~\//$HOME/} kind line found=()
    while IFS= read -r line; do
        if [[ -z $kind ]]; then
            kind=$line
        else
            found+=("${line%%$'\t'*}")
        fi
    done < <("$command" completion words -- "${words[@]:1}" 2>/dev/null)

    COMPREPLY=()
    word=${words[-1]}
    if [[ $kind == files ]]; then
        compopt -o filenames 2>/dev/null
        word=${word#--*=}
        word=${word#[\"\']}
        while IFS= read -r line; do
            COMPREPLY+=("$line")
        done < <(compgen -f -- "${word/#\~\//$HOME/}")
        return
    fi

    # Readline replaces what follows the last = or : only, unless these are within quotes.
    local quoted='' before=''
    [[ $word == [\"\']* ]] && quoted=1
    [[ -z $quoted && $word == *[=:]* ]] && before=${word%"${word##*[=:]}"}
    for line in "${found[@]}"; do
        [[ -z $quoted ]] && printf -v line %q "$line"
        line=${line#"$before"}
        COMPREPLY+=("$line")
    done
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
    return 0
}

complete -F _zocaloctl zocaloctl
