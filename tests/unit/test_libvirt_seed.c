/* The seed that cloud-init reads in a guest: its placeholders, and the image, which is read back by libarchive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>
#include <string.h>

#include "../../drivers/compute/libvirt.h"
#include "../../drivers/wire/seed.h"

static const struct libvirt_mark mark = { .controller = "shop",
                                          .group = "web",
                                          .id = "web-0000000a",
                                          .address = "10.1.2.3",
                                          .mac = "52:00:00:00:00:01" };

static void placeholders_become_the_words_of_the_instance(void **state)
{
    (void)state;
    static const char *const texts[][2] = {
        { "", "" },
        { "host {id} of {controller}/{group}", "host web-0000000a of shop/web" },
        { "{address}:{port} {mac} {name}", "10.1.2.3:8080 52:00:00:00:00:01 web-0000000a" },
        { "echo ${id} $id {unknown} { id } {", "echo ${id} $id {unknown} { id } {" },
        { "{{id}}", "{web-0000000a}" },
    };
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
        char *made = libvirt_seed_text(texts[k][0], &mark, 8080);
        assert_non_null(made);
        assert_string_equal(made, texts[k][1]);
        free(made);
    }
}

/* Reads the next file of the image; false at its end. */
static bool next_file(struct archive *a, char name[64], char text[256])
{
    struct archive_entry *e;
    while (archive_read_next_header(a, &e) == ARCHIVE_OK) {
        if (archive_entry_filetype(e) != AE_IFREG)
            continue;
        snprintf(name, 64, "%s", archive_entry_pathname(e));
        la_ssize_t n = archive_read_data(a, text, 255);
        assert_true(n >= 0);
        text[n] = '\0';
        return true;
    }
    return false;
}

static void the_image_is_labelled_and_holds_the_files(void **state)
{
    (void)state;
    struct as_error err;
    void *image = NULL;
    size_t size = 0, files = 0;
    char name[64], text[256];
    if (seed_make(&(struct seed_texts){ "instance-id: x\n", "#cloud-config\n", NULL }, &image, &size, &err) !=
        AS_OK)
        fail_msg("%s", err.msg);
    assert_true(size > 0x8800 && size % 2048 == 0);
    assert_memory_equal((char *)image + 0x8001, "CD001", 5);
    assert_memory_equal((char *)image + 0x8028, "CIDATA ", 7); /* cloud-init looks for both */
    struct archive *a = archive_read_new();
    archive_read_support_format_iso9660(a);
    assert_int_equal(archive_read_open_memory(a, image, size), ARCHIVE_OK);
    for (; next_file(a, name, text); files++)
        assert_string_equal(text, strcmp(name, "meta-data") == 0 ? "instance-id: x\n" : "#cloud-config\n");
    assert_int_equal(files, 2);
    archive_read_free(a);
    free(image);
}

static void a_seed_of_the_largest_files_fits(void **state)
{
    (void)state;
    struct as_error err;
    void *image = NULL;
    size_t size = 0;
    char *large = malloc(SEED_TEXT_MAX + 1);
    assert_non_null(large);
    memset(large, 'x', SEED_TEXT_MAX);
    large[SEED_TEXT_MAX] = '\0';
    assert_int_equal(seed_make(&(struct seed_texts){ large, large, large }, &image, &size, &err), AS_OK);
    assert_true(size > 3 * SEED_TEXT_MAX);
    free(image);
    free(large);
}

/* What the built-in machine is made of, as the configuration says it. */
static void the_machine_has_what_the_configuration_says(void **state)
{
    (void)state;
    static const char *const texts[][2] = {
        { "", "<os><type>hvm</type></os>" },
        { "firmware=\"bios\";", "<os><type>hvm</type></os>" },
        { "firmware=\"efi\";", "<os firmware='efi'><type>hvm</type><firmware><feature enabled='no' "
                               "name='secure-boot'/></firmware></os>" },
        { "cpu_mode=\"host-model\";", "<cpu mode='host-model'/>" },
        { "cpu_model=\"Skylake-Server\";",
          "<cpu mode='custom' match='exact'><model>Skylake-Server</model></cpu>" },
        { "address=\"agent\";", "name='org.qemu.guest_agent.0'" },
        { "", "<source file='/p/seed.iso'/><target dev='vdb' bus='virtio'/><readonly/>" },
        { "disk_bus=\"sata\";", "<source file='/p/seed.iso'/><target dev='sdb' bus='sata'/><readonly/>" },
    };
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
        char text[256];
        struct as_settings *s = NULL;
        struct as_error err;
        snprintf(text, sizeof text, "base=\"p/b\"; memory=\"1GiB\"; port=80; %s", texts[k][0]);
        assert_int_equal(as_settings_parse(libvirt_options, text, &s, &err), AS_OK);
        struct libvirt_machine m = {
            .settings = s, .mark = &mark, .type = "kvm", .volume = "/p/disk.qcow2", .seed = "/p/seed.iso"
        };
        char *xml = libvirt_domain_xml(&m);
        assert_non_null(xml);
        if (!strstr(xml, texts[k][1]))
            fail_msg("no %s in %s", texts[k][1], xml);
        free(xml);
        as_settings_free(s);
    }
}

static void what_has_variables_of_its_firmware_is_seen(void **state)
{
    (void)state;
    static const char
        *const with[] = { "<domain><os firmware='efi'><type>hvm</type></os></domain>",
                          "<domain><os><loader readonly='yes' type='pflash'>/c.fd</loader></os></domain>",
                          "<domain><os><nvram>/v.fd</nvram></os></domain>" },
               *const without[] = { "<domain><os><type>hvm</type></os></domain>",
                                    "<domain><!-- <nvram>/v.fd</nvram> --><os firmware='bios'/></domain>",
                                    "<domain><os><loader type='rom'>/b.bin</loader></os></domain>" };
    for (size_t k = 0; k < 3; k++) {
        assert_true(libvirt_has_nvram(with[k]));
        assert_false(libvirt_has_nvram(without[k]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(placeholders_become_the_words_of_the_instance),
        cmocka_unit_test(the_image_is_labelled_and_holds_the_files),
        cmocka_unit_test(a_seed_of_the_largest_files_fits),
        cmocka_unit_test(the_machine_has_what_the_configuration_says),
        cmocka_unit_test(what_has_variables_of_its_firmware_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
