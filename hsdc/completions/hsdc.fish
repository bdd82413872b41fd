# Completion of hsdc for fish. `hsdc --install-completion fish` writes it anew after an update of hsdc.

function __hsdc_names --description 'Names of the specs in a folder of the nearest project'
    set -l folder $PWD
    while test -n "$folder"; and not test -d "$folder/specs"
        set folder (string replace -r '/[^/]*$' '' -- $folder)
    end
    for file in $folder/$argv[1]/*.yaml
        string match -rq '^[a-z][a-z0-9_]*$' -- (basename $file .yaml); and basename $file .yaml
    end
end

# GRAMMAR
