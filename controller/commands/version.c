/* autoscale version: the program's and its libraries'. */
#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "commands.h"

int command_version(int argc, char **argv)
{
    if (argc > 1 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0)) {
        printf("usage: autoscale version\n\nPrints the version of the program and of the libraries it runs "
               "with.\n");
        return 0;
    }
    if (argc > 1)
        return usage_wrong("version", "'%s' is too much", argv[1]);
    printf("autoscale %s\n", AUTOSCALE_VERSION);
    printf("libuv %s, libcurl %s, cJSON %s, SQLite %s\n", uv_version_string(),
           curl_version_info(CURLVERSION_NOW)->version, cJSON_Version(), sqlite3_libversion());
    return 0;
}
