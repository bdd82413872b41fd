# Completion of hsdc for bash. `hsdc --install-completion bash` writes it anew after an update of hsdc.

# GRAMMAR

_hsdc_words() {  # offers those of some words that begin as the current one
    local word
    for word in $1; do
        [[ $word == "$cur"* ]] && COMPREPLY+=("$word")
    done
}

_hsdc_names() {  # offers the names of the specs in a folder of the nearest project; no other file name is used
    local folder=$PWD file
    while [[ -n $folder && ! -d $folder/specs ]]; do folder=${folder%/*}; done
    for file in "$folder/$1"/*.yaml; do
        file=${file##*/} file=${file%.yaml}
        [[ $file =~ ^[a-z][a-z0-9_]*$ && $file == "$cur"* ]] && COMPREPLY+=("$file")
    done
}

_hsdc_kind() {
    case $1 in
        runs) _hsdc_names specs ;;
        profiles) _hsdc_names specs/profiles ;;
        files)
            compopt -o filenames 2>/dev/null
            while IFS= read -r file; do COMPREPLY+=("$file"); done < <(compgen -f -- "$cur") ;;
    esac
}

_hsdc() {
    local IFS=$' \t\n' line=${COMP_LINE:0:COMP_POINT} cur='' word command='' value='' file
    local options='' valued='' kinds='' kind='nothing' i place=0
    local -a words
    COMPREPLY=()
    read -ra words <<< "$line"
    if [[ ${#words[@]} -gt 0 && $line != *[[:space:]] ]]; then
        cur=${words[${#words[@]} - 1]}
        words=("${words[@]:0:${#words[@]}-1}")
    fi
    _hsdc_grammar ''
    for ((i = 1; i < ${#words[@]}; i++)); do
        word=${words[i]}
        if [[ -n $value ]]; then
            value=''
        elif [[ $word == -* ]]; then
            [[ $word != *=* && $valued == *" $word "* ]] && value=$word
        elif [[ -z $command ]]; then
            command=$word
            _hsdc_grammar "$command"
        else
            place=$((place + 1))
        fi
    done
    if [[ $cur == --*=* ]]; then
        value=${cur%%=*} cur=${cur#*=}
    fi
    if [[ -n $value ]]; then
        _hsdc_value "$command" "$value"
    elif [[ $cur == -* ]]; then
        _hsdc_words "$options"
    elif [[ -z $command ]]; then
        _hsdc_words "$_hsdc_commands"
    else
        read -ra words <<< "$kinds"
        if ((${#words[@]} == 0)); then
            _hsdc_words "$options"
        elif ((place < ${#words[@]})); then
            kind=${words[place]}
        elif [[ $kinds == *'*' ]]; then
            kind=${words[${#words[@]} - 1]}
        fi
        _hsdc_kind "${kind%\*}"
    fi
}

complete -F _hsdc hsdc
